"""One's own imagery: rasters of a territory, aligned and cut into patches."""
