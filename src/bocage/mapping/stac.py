"""`stac.json` beside a map: a STAC item of its layers, and one of the model that made them.

Plain JSON of STAC 1.1 with the extensions projection, raster, classification, file and processing;
what stands in a layer's entry is read from its file. No library is needed to write it; the tests
read it with pystac and stac-model.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from rasterio._err import CPLE_BaseError  # PROJ's refusals that rasterio has no words for
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import transform

from bocage.errors import DataError
from bocage.files import write_json
from bocage.mapping.maps import CLASS_TAG
from bocage.mapping.report import MapReport
from bocage.mapping.stac_mlm import machine_name, model_item
from bocage.rasters import Grid, grid_of, open_raster

if TYPE_CHECKING:
    from bocage.models import Bundle

STAC_VERSION = "1.1.0"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"

ITEM_FILE, MODEL_FILE = "stac.json", "stac-model.json"
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_MEDIA = {
    ".tif": _COG,
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".json": "application/json",
    ".qml": "application/xml",
}
_EDGE_POINTS = 21
_DIGITS = 7  # about a centimetre


def describe_models(
    bundles: Sequence[Bundle], weights: Sequence[Path], out: Path
) -> list[dict[str, Any]]:
    """Items of the networks that make a map, whose bundles lie at `weights`.

    An item of a network names its weights, so one whose file is not known has none.
    """
    now = _now()
    return [
        model_item(bundle.meta, bundle.network, _relative(path, out), now)
        for bundle, path in zip(bundles, weights, strict=False)
    ]


def write_item(
    out: Path,
    report: MapReport,
    models: Sequence[dict[str, Any]] = (),
    dates: Sequence[datetime.date] = (),
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Write `OUT/stac.json` and an item per network, `OUT/stac-model.json`, `-2.json` and so on.

    Args:
        out: The map's folder; files are named relative to it.
        report: Of the run; its layers become assets.
        models: What `describe_models` says of the networks.
        dates: Days of the imagery. Without them the map is of the whole of the report's year, and
            where that is not known either of the moment at which it was made.
        files: Further files by asset name, such as polygons and tables.

    Returns:
        The item's file.

    Raises:
        DataError: a layer that cannot be read.
    """
    item = map_item(out, report, dates, files or {}, _now())
    for number, model in enumerate(models, start=1):
        name = MODEL_FILE if number == 1 else f"{Path(MODEL_FILE).stem}-{number}.json"
        write_json(out / name, model)
        # The relation that the MLM extension names for what a model has made.
        item["links"].append(
            {"rel": "derived_from", "href": f"./{name}", "type": "application/geo+json"}
        )
    write_json(out / ITEM_FILE, item)
    return out / ITEM_FILE


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def map_item(
    out: Path,
    report: MapReport,
    dates: Sequence[datetime.date],
    files: Mapping[str, Path],
    now: datetime.datetime,
) -> dict[str, Any]:
    """The item of a map as plain values."""
    assets: dict[str, Any] = {}
    grid: Grid | None = None
    for stem, file in report.maps.items():
        with open_raster(file) as dataset:
            assets[stem] = _raster_asset(stem, Path(file), dataset, out)
            grid = grid or grid_of(dataset)
    if grid is None or grid.crs is None:
        raise DataError(f"{out}: no layer with a CRS, so nothing to describe.")
    place = footprint(grid)
    for name, path in files.items():
        assets[name] = _file_asset(name, path, out)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [PROJECTION, RASTER, CLASSIFICATION, FILE, PROCESSING],
        "id": out.resolve().name,
        "geometry": None if place is None else place[0],
        **({} if place is None else {"bbox": place[1]}),
        "properties": {
            **_time(report.year, dates, now),
            "created": _stamp(now),
            "gsd": report.resolution_m,
            **_projection(grid),
            "processing:datetime": _stamp(now),
            "processing:software": dict(report.versions),
            "processing:level": "L4",
        },
        "links": [],
        "assets": assets,
    }


def footprint(grid: Grid) -> tuple[dict[str, Any], list[float]] | None:
    """Outline in longitude and latitude as GeoJSON, and its bounding box.

    None where there is no simple one: around a pole, around the whole Earth, beyond the edge of a
    projection, on another body. Sides are drawn through several points, since they bend. An outline
    over the 180th meridian is cut there, and its box starts east of where it ends, as RFC 7946
    (3.1.9, 5.2) asks.
    """
    assert grid.crs is not None
    steps = np.linspace(0, 1, _EDGE_POINTS)[:-1]
    turns = np.concatenate(
        [
            np.stack([np.zeros_like(steps), steps], axis=1),
            np.stack([steps, np.ones_like(steps)], axis=1),
            np.stack([np.ones_like(steps), 1 - steps], axis=1),
            np.stack([1 - steps, np.zeros_like(steps)], axis=1),
        ]
    )  # down the left side, then anticlockwise
    xs, ys = zip(
        *(grid.transform @ (u * grid.width, v * grid.height) for u, v in turns), strict=True
    )
    try:
        found = transform(grid.crs, CRS.from_epsg(4326), list(xs), list(ys))
    except (CRSError, RasterioError, CPLE_BaseError):
        return None
    lon, lat = (np.round(np.array(values, dtype=np.float64), _DIGITS) for values in found[:2])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    south, north = float(lat.min()), float(lat.max())
    if lon.max() - lon.min() <= 180:
        if not shapely.Polygon(np.stack([lon, lat], axis=1)).is_valid:
            return None
        return _polygon(lon, lat), [float(lon.min()), south, float(lon.max()), north]
    lon = np.where(lon < 0, lon + 360, lon)
    whole = shapely.Polygon(np.stack([lon, lat], axis=1))
    sides = (shapely.box(0, -90, 180, 90), shapely.box(180, -90, 360, 90))
    halves = [whole.intersection(side) for side in sides] if whole.is_valid else []
    if not all(isinstance(half, shapely.Polygon) and half.area for half in halves) or not halves:
        return None
    parts = [
        _polygon(*_ring(half, shift))["coordinates"]
        for half, shift in zip(halves, (0, 360), strict=True)
    ]
    box = [float(lon.min()), south, round(float(lon.max()) - 360, _DIGITS), north]
    return {"type": "MultiPolygon", "coordinates": parts}, box


def _ring(polygon: Any, shift: float) -> tuple[Any, Any]:
    """Longitudes less `shift`, and latitudes, of an outline, anticlockwise."""
    x, y = shapely.geometry.polygon.orient(polygon).exterior.coords.xy
    return np.array(x)[:-1] - shift, np.array(y)[:-1]


def _polygon(lon: Any, lat: Any) -> dict[str, Any]:
    ring = [[float(x), float(y)] for x, y in zip(lon, lat, strict=True)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def _projection(grid: Grid) -> dict[str, Any]:
    assert grid.crs is not None
    code = grid.crs.to_authority()
    t = grid.transform
    return {
        "proj:code": None if code is None else ":".join(code),
        **({"proj:wkt2": grid.crs.to_wkt(version="WKT2_2019")} if code is None else {}),
        "proj:shape": [grid.height, grid.width],
        "proj:transform": [t.a, t.b, t.c, t.d, t.e, t.f],
        "proj:bbox": list(grid.bounds),
    }


def _raster_asset(stem: str, path: Path, dataset: DatasetReader, out: Path) -> dict[str, Any]:
    bands = []
    for number in dataset.indexes:
        tags = dataset.tags(number)
        scale = dataset.scales[number - 1]
        classes = _classes(dataset, number, tags)
        nodata = dataset.nodatavals[number - 1]
        bands.append(
            {
                "name": dataset.descriptions[number - 1] or f"{stem}-{number}",
                "data_type": dataset.dtypes[number - 1],
                **({} if nodata is None else {"nodata": nodata}),
                "raster:sampling": "area",
                "raster:spatial_resolution": grid_of(dataset).resolution[0],
                **({} if scale == 1.0 else {"raster:scale": scale, "raster:offset": 0.0}),
                **({"classification:classes": classes} if classes else {}),
            }
        )
    return {
        **_file_asset(stem, path, out),
        "roles": ["data"],
        **_projection(grid_of(dataset)),
        "bands": bands,
    }


def _classes(dataset: DatasetReader, number: int, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """The classes that a band's metadata names, with the colours of its palette."""
    names = {
        int(key.removeprefix(CLASS_TAG)): name
        for key, name in tags.items()
        if key.startswith(CLASS_TAG) and key.removeprefix(CLASS_TAG).isdigit()
    }
    palette = dataset.colorinterp[number - 1].name == "palette"
    colors = dataset.colormap(number) if names and palette else {}
    return [
        {
            "value": value,
            "name": machine_name(name),
            "title": name,
            "description": name,
            **(
                {"color_hint": "{:02X}{:02X}{:02X}".format(*colors[value][:3])}
                if value in colors
                else {}
            ),
        }
        for value, name in sorted(names.items())
    ]


def _file_asset(name: str, path: Path, out: Path) -> dict[str, Any]:
    media = _MEDIA.get(path.suffix.lower())
    return {
        "href": _relative(path, out),
        "title": name.replace("_", " ").replace("-", " "),
        **({} if media is None else {"type": media}),
        "roles": ["metadata" if path.suffix.lower() in (".json", ".qml") else "data"],
        "file:size": path.stat().st_size,
    }


def _relative(path: Path, out: Path) -> str:
    """A file as seen from the item: relative inside the map's folder, else absolute."""
    there, here = path.resolve(), out.resolve()
    if there.is_relative_to(here):
        return f"./{there.relative_to(here).as_posix()}"
    return Path(os.path.relpath(there, here)).as_posix()


def _time(
    year: int | None, dates: Sequence[datetime.date], now: datetime.datetime
) -> dict[str, Any]:
    if dates:
        first, last = min(dates), max(dates)
    elif year is not None:
        first, last = datetime.date(year, 1, 1), datetime.date(year, 12, 31)
    else:
        return {"datetime": _stamp(now)}
    return {
        "datetime": None,
        "start_datetime": f"{first.isoformat()}T00:00:00Z",
        "end_datetime": f"{last.isoformat()}T23:59:59Z",
    }


def _stamp(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
