"""Reading a layer of a vector file: every failure names the file, the finding and the remedy."""

from __future__ import annotations

from pathlib import Path

import geopandas
import pandas as pd
import pyogrio

from bocage.errors import ConfigError, DataError, unknown_name


def read_features(
    path: Path | str,
    layer: str | None = None,
    *,
    what: str,
    kind: str,
    choose: str = "Give a file of one layer.",
) -> geopandas.GeoDataFrame:
    """Features of a vector file or GeoParquet, with a CRS and at least one of them.

    `what` they are, `kind` of geometry, and how to `choose` a layer are for messages. Without
    `layer` the file must have one only, tables without geometry (QGIS keeps its styles in one) not
    counted. Raises `ConfigError` for a layer that is not chosen or that the file does not have,
    `DataError` for a file that is no such thing.
    """
    frame = _read(str(path), layer, what, kind, choose)
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise DataError(f"{path}: a table without geometry. Give {kind}.")
    if not len(frame):
        raise DataError(f"{path}: no {what} in it. Give a file with at least one feature.")
    if frame.crs is None:
        raise DataError(f"{path}: the {what} have no CRS. Assign it with 'ogr2ogr -a_srs'.")
    return frame


def _read(path: str, layer: str | None, what: str, kind: str, choose: str) -> pd.DataFrame:
    if not path.startswith("/vsi") and not Path(path).exists():
        raise DataError(f"{path}: no such file. Give a vector file of {what}.")
    if path.endswith(".parquet"):
        if layer is not None:
            raise ConfigError(f"{path}: a Parquet file has no layers. Leave the layer out.")
        try:
            return geopandas.read_parquet(path)
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: cannot be read as GeoParquet ({error}).") from error
    try:
        layers = {str(name): geometry for name, geometry in pyogrio.list_layers(path)}
        if layer is not None and layer not in layers:
            raise ConfigError(f"{path}: {unknown_name('layer', layer, layers)}")
        drawn = [name for name, geometry in layers.items() if geometry is not None]
        if layer is None and len(drawn) > 1:
            raise ConfigError(f"{path}: several layers: {', '.join(drawn)}. {choose}")
        return pyogrio.read_dataframe(path, layer=layer or next(iter(drawn), None))
    except (RuntimeError, ValueError) as error:  # what pyogrio's errors descend from
        raise DataError(
            f"{path}: cannot be read as {kind} ({error}). Give a vector file."
        ) from error
