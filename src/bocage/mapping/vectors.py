"""Writing features as they come: GeoPackage and GeoParquet, atomically, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from bocage.errors import ConfigError, DataError
from bocage.files import atomic_path

GEOMETRY = "geometry"
SUFFIXES = (".gpkg", ".parquet")
PYOGRIO_ERRORS = (DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError)
Batch = tuple[dict[str, Any], NDArray[Any]]
"""Columns by name and the geometries beside them."""


def check_target(target: Path) -> None:
    """Raise `ConfigError` unless the name says GeoPackage or GeoParquet."""
    if target.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{target}: polygons are written as GeoPackage or GeoParquet. End the name in "
            f"{' or '.join(SUFFIXES)}."
        )


def write_features(
    target: Path, columns: pa.Schema, batches: Iterable[Batch], crs: Any, geometry_type: str
) -> int:
    """Write one layer, named like the file, and return the number of features.

    `columns` are those beside the geometry; `crs` whatever pyproj takes. Raises `DataError` where
    the file cannot be written; what the batches raise goes through unchanged.
    """
    check_target(target)
    schema = columns.append(pa.field(GEOMETRY, pa.binary()))
    source = _Tables(schema, batches)
    parquet = target.suffix.lower() == ".parquet"
    with atomic_path(target) as temporary:
        try:
            if parquet:
                _write_parquet(temporary, schema, source, crs, geometry_type)
            else:
                _write_package(temporary, target.stem, schema, source, crs, geometry_type)
        except (*PYOGRIO_ERRORS, pa.ArrowException) as error:
            # Errors do not pass Arrow's stream interface: the first one is what went wrong.
            if source.error is not None:
                raise source.error from None
            raise DataError(
                f"{target}: could not be written ({str(error).strip().splitlines()[0]}). Check "
                "free space and permissions, then run the same command again."
            ) from error
        finally:
            for beside in temporary.parent.glob(f"{temporary.name}-*"):
                beside.unlink()
    return source.count


class _Tables:
    """Record batches, counted; remembers the error that ended them."""

    def __init__(self, schema: pa.Schema, batches: Iterable[Batch]) -> None:
        self.schema, self.batches = schema, batches
        self.count = 0
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for columns, geometries in self.batches:
                self.count += len(geometries)
                values = {**columns, GEOMETRY: shapely.to_wkb(geometries)}
                arrays = [
                    values[f.name]
                    if isinstance(values[f.name], pa.Array)
                    else pa.array(values[f.name], f.type, from_pandas=True)
                    for f in self.schema
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        except Exception as error:
            self.error = error
            raise


def _write_package(
    path: Path, layer: str, schema: pa.Schema, tables: _Tables, crs: Any, geometry_type: str
) -> None:
    reader = pa.RecordBatchReader.from_batches(schema, iter(tables))
    pyogrio.write_arrow(
        reader,
        path,
        layer=layer,
        driver="GPKG",
        geometry_name=GEOMETRY,
        geometry_type=geometry_type,
        crs=pyproj.CRS.from_user_input(crs).to_wkt(),
    )


def _write_parquet(
    path: Path, schema: pa.Schema, tables: _Tables, crs: Any, geometry_type: str
) -> None:
    """GeoParquet 1.0: https://geoparquet.org/releases/v1.0.0/."""
    about = {
        "version": "1.0.0",
        "primary_column": GEOMETRY,
        "columns": {
            GEOMETRY: {
                "encoding": "WKB",
                "geometry_types": [] if geometry_type == "Unknown" else [geometry_type],
                "crs": pyproj.CRS.from_user_input(crs).to_json_dict(),
            }
        },
    }
    schema = schema.with_metadata({"geo": json.dumps(about)})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in tables:
            writer.write_batch(batch)
