"""The index of a dataset: one row per patch, in a GeoParquet file that any tool can open.

Columns: `patch_id`, `domain`, `roi`, `year`; `split_*` as the dataset names them; `epsg`, `left`,
`bottom`, `right`, `top` in that CRS; `geometry`, the footprint in longitude and latitude (WGS 84),
so that domains in different CRS share one map; `path:<NAME>`; `dates:<NAME>`, ISO days separated
by blanks (patches of one ROI share their dates: as text they are stored, and held in memory, once
per ROI); `counts:<TASK>`, pixels per class; `window` for patches cut out of larger files.
Layout name and format version stand in the file's own metadata; the root folder does not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bocage.data.record import PatchRecord
from bocage.errors import ConfigError, DataError, unknown_name
from bocage.files import atomic_path
from bocage.nomenclatures import get_task

__all__ = ["PatchIndex", "PatchRecord"]

FORMAT_VERSION = 1
_METADATA_KEY = b"bocage-index"
_PATH, _DATES, _COUNTS = "path:", "dates:", "counts:"
# GeoParquet 1.1; without a "crs" entry the coordinates are OGC:CRS84, longitude before latitude.
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"]}},
}


class PatchIndex:
    """The patches of a dataset as an Arrow table; records are made when they are asked for.

    `problems` lists, in sentences, what `build_index` had to leave out; it is not stored.
    """

    def __init__(self, table: pa.Table, layout: str, problems: Sequence[str] = ()) -> None:
        self.table = table
        self.layout = layout
        self.problems = tuple(problems)

    @classmethod
    def from_records(
        cls, records: Sequence[PatchRecord], layout: str, problems: Sequence[str] = ()
    ) -> PatchIndex:
        """An index of `records`, in their order."""
        columns: dict[str, pa.Array] = {
            "patch_id": pa.array([r.patch_id for r in records], pa.string()),
            "domain": _repeated([r.domain for r in records]),
            "roi": _repeated([r.roi for r in records]),
            "year": pa.array([r.year for r in records], pa.int16()),
        }
        for name in _all_keys(r.splits for r in records):
            columns[name] = _repeated([r.splits.get(name) for r in records])
        columns["epsg"] = pa.array([r.epsg for r in records], pa.int32())
        for i, side in enumerate(("left", "bottom", "right", "top")):
            values = [None if r.bounds is None else r.bounds[i] for r in records]
            columns[side] = pa.array(values, pa.float64())
        for name in _all_keys(r.paths for r in records):
            columns[_PATH + name] = pa.array([r.paths.get(name) for r in records], pa.string())
        for name in _all_keys(r.dates for r in records):
            columns[_DATES + name] = _repeated([_dates_text(r.dates.get(name)) for r in records])
        for name in _all_keys(r.class_counts or {} for r in records):
            counts = [(r.class_counts or {}).get(name) for r in records]
            columns[_COUNTS + name] = pa.array(counts, pa.list_(pa.int64()))
        if any(r.window is not None for r in records):
            columns["window"] = pa.array([r.window for r in records], pa.list_(pa.int32()))
        columns["geometry"] = pa.array(_footprints(records), pa.binary())
        return cls(pa.table(columns), layout, problems)

    @classmethod
    def read(
        cls, path: Path, names: Collection[str] | None = None, counts: bool = True
    ) -> PatchIndex:
        """Open an index written by `write`.

        `names` (modalities, label sets) limits the paths and dates that are held in memory, and
        `counts=False` leaves the class counts on disk: a run opens what it uses.
        """
        if not path.is_file():
            raise DataError(
                f"{path}: no index there. Build it with 'bocage data index ROOT --layout LAYOUT'."
            )
        try:
            schema = pq.read_schema(path)
            header = json.loads((schema.metadata or {}).get(_METADATA_KEY, b"{}"))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{path}: not a readable Parquet file ({error}). Build the index again with "
                "'bocage data index ROOT --layout LAYOUT'."
            ) from error
        if header.get("version") != FORMAT_VERSION:
            found = f"version {header['version']}" if header else "no Bocage index"
            raise DataError(
                f"{path}: {found}, expected an index of version {FORMAT_VERSION}. Build it again "
                "with 'bocage data index ROOT --layout LAYOUT'."
            )
        columns = [c for c in schema.names if _is_wanted(c, names, counts)]
        repeated = [c for c in columns if c in ("domain", "roi") or c.startswith(("split", _DATES))]
        with pq.ParquetFile(path, memory_map=True, read_dictionary=repeated) as file:
            return cls(file.read(columns=columns).combine_chunks(), header["layout"])

    def write(self, path: Path) -> None:
        """Write the index as GeoParquet, atomically."""
        if "geometry" not in self.table.column_names:
            raise ConfigError(f"{path}: an index opened in part cannot be written as a whole.")
        header = {"version": FORMAT_VERSION, "layout": self.layout}
        table = self.table.replace_schema_metadata(
            {_METADATA_KEY: json.dumps(header), b"geo": json.dumps(_GEO)}
        )
        with atomic_path(path) as temporary:
            # Date lists of thousands of ROIs outgrow Parquet's default dictionary of 1 MiB.
            pq.write_table(
                table, temporary, compression="zstd", dictionary_pagesize_limit=16 * 2**20
            )

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, position: int) -> PatchRecord:
        if not -len(self) <= position < len(self):
            raise IndexError(f"patch {position} of an index of {len(self)}")
        position %= len(self)
        row: dict[str, Any] = {
            name: column[position].as_py()
            for name, column in zip(self.table.column_names, self.table.columns, strict=True)
            if name != "geometry"
        }
        filled = {name: value for name, value in row.items() if value is not None}
        sides = tuple(filled[s] for s in ("left", "bottom", "right", "top") if s in filled)
        counts = {n: np.asarray(v, dtype=np.int64) for n, v in _family(filled, _COUNTS)}
        window = filled.get("window")
        return PatchRecord(
            patch_id=row["patch_id"],
            domain=row["domain"],
            roi=row["roi"],
            year=row["year"],
            paths=dict(_family(filled, _PATH)),
            dates={n: np.array(v.split(), "datetime64[D]") for n, v in _family(filled, _DATES)},
            splits={n: v for n, v in filled.items() if n.startswith("split")},
            bounds=sides if len(sides) == 4 else None,
            epsg=filled.get("epsg"),
            class_counts=counts or None,
            window=None if window is None else tuple(window),
        )

    def __iter__(self) -> Iterator[PatchRecord]:
        return (self[i] for i in range(len(self)))

    @property
    def records(self) -> list[PatchRecord]:
        """Every patch as a record; for a whole dataset prefer `self[i]`."""
        return list(self)

    @property
    def split_columns(self) -> tuple[str, ...]:
        """Names of the split columns."""
        return tuple(c for c in self.table.column_names if c.startswith("split"))

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, sorted."""
        return tuple(sorted(pc.unique(self.table.column("domain")).to_pylist()))

    def narrow(self, names: Collection[str]) -> PatchIndex:
        """The same patches with the paths and dates of `names` only, as `read` would open them.

        What a run holds in memory and hands to its reading processes.
        """
        columns = [c for c in self.table.column_names if _is_wanted(c, names, counts=False)]
        return PatchIndex(self.table.select(columns), self.layout, self.problems)

    def available(self) -> dict[str, int]:
        """Modality or label set to the number of patches that have it."""
        return {
            c.removeprefix(_PATH): len(self) - self.table.column(c).null_count
            for c in self.table.column_names
            if c.startswith(_PATH)
        }

    def select(
        self,
        splits: Collection[str] | None = None,
        split_column: str | None = None,
        domains: Collection[str] | None = None,
        rois: Collection[str] | None = None,
        present: Collection[str] = (),
    ) -> PatchIndex:
        """The patches that meet every given condition, in the same order.

        `present` are modalities or label sets that must have a file. An unknown split column or a
        domain that the index does not hold is a `ConfigError`.
        """
        mask = np.ones(len(self), dtype=bool)
        if splits is not None:
            if split_column not in self.split_columns:
                raise ConfigError(
                    unknown_name("split column", str(split_column), self.split_columns)
                    if self.split_columns
                    else f"the index has no split column, so '{split_column}' selects nothing."
                )
            mask &= self._among(split_column, splits)
        for column, wanted in (("domain", domains), ("roi", rois)):
            if wanted is None:
                continue
            known = set(pc.unique(self.table.column(column)).to_pylist())
            for value in wanted:
                if value not in known:
                    raise ConfigError(unknown_name(column, value, known))
            mask &= self._among(column, wanted)
        for name in present:
            if _PATH + name not in self.table.column_names:
                mask[:] = False
            else:
                mask &= pc.is_valid(self.table.column(_PATH + name)).to_numpy()
        return PatchIndex(self.table.filter(pa.array(mask)).combine_chunks(), self.layout)

    def record(self, patch_id: str) -> PatchRecord:
        """The patch of that id; `ConfigError` with the nearest ids if there is none."""
        position = pc.index(self.table.column("patch_id"), patch_id).as_py()
        if position < 0:
            sample = self.table.column("patch_id").slice(0, 1000).to_pylist()
            message = unknown_name("patch", patch_id, sample)
            raise ConfigError(message if len(message) < 400 else message[:400] + " …")
        return self[position]

    def class_counts(self, task: str) -> NDArray[np.int64]:
        """Pixels per patch and class, (patches, num_classes); 0 where a patch has no label."""
        wanted = get_task(task)
        out = np.zeros((len(self), wanted.num_classes), dtype=np.int64)
        if _COUNTS + wanted.name in self.table.column_names:
            column = self.table.column(_COUNTS + wanted.name)
            rows = np.flatnonzero(pc.is_valid(column).to_numpy())
            values = pc.list_flatten(column).to_numpy()
            out[rows] = values.reshape(len(rows), wanted.num_classes)
        return out

    def _among(self, column: str, values: Collection[str]) -> NDArray[np.bool_]:
        chosen = pa.array(sorted(values), pa.string())
        found = pc.is_in(self.table.column(column).cast(pa.string()), value_set=chosen)
        return np.asarray(found.to_numpy(), dtype=bool)


def _repeated(values: list[str | None]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def _all_keys(mappings: Any) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _family(row: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    return [(name.removeprefix(prefix), v) for name, v in row.items() if name.startswith(prefix)]


def _is_wanted(column: str, names: Collection[str] | None, counts: bool) -> bool:
    if column.startswith(_COUNTS):
        return counts
    if names is None:
        return True
    if column.startswith((_PATH, _DATES)):
        return column.split(":", 1)[1] in names
    return column != "geometry"


def _dates_text(dates: NDArray[np.datetime64] | None) -> str | None:
    return None if dates is None else " ".join(np.datetime_as_string(dates, unit="D").tolist())


def _footprints(records: Sequence[PatchRecord]) -> list[bytes | None]:
    """Footprints in longitude and latitude as WKB; None where the CRS has no EPSG code."""
    # Only building an index needs these; opening one must stay fast.
    import shapely
    from rasterio.warp import transform

    out: list[bytes | None] = [None] * len(records)
    for epsg in {r.epsg for r in records if r.epsg is not None and r.bounds is not None}:
        rows = [i for i, r in enumerate(records) if r.epsg == epsg and r.bounds is not None]
        bounds = np.array([records[i].bounds for i in rows])
        corners = bounds[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].reshape(-1, 2)
        lon, lat = transform(f"EPSG:{epsg}", "EPSG:4326", corners[:, 0], corners[:, 1])
        rings = np.column_stack([lon, lat]).reshape(-1, 4, 2)
        for i, blob in zip(rows, shapely.to_wkb(shapely.polygons(rings)), strict=True):
            out[i] = blob
    return out
