"""The index of a dataset: one row per patch, in a GeoParquet file that any tool can open.

Columns: `patch_id`, `domain`, `roi`, `year`; `split_*` as the dataset names them; `epsg`, `left`,
`bottom`, `right`, `top` in that CRS; `geometry`, the footprint in longitude and latitude (WGS 84),
so that domains in different CRS share one map; `path:<NAME>`; `dates:<NAME>`, ISO days separated
by blanks (patches of one ROI share their dates: as text they are stored, and held in memory, once
per ROI); `counts:<TASK>`, pixels per class; `clear:<NAME>`, per date of a series one byte with the
share of clear pixels in whole percent, and `clear_dates:<NAME>`, how many dates that makes
(`bocage.data.clearness`); `window` for patches cut out of larger files.
Layout name and format version stand in the file's own metadata; the root folder does not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bocage.data.pack.source import byte_source, remote_address
from bocage.data.record import PatchRecord
from bocage.errors import ConfigError, DataError, unknown_name
from bocage.files import atomic_path
from bocage.modalities import SENTINEL2_TS
from bocage.nomenclatures import Task, get_task

__all__ = ["PatchIndex", "PatchRecord"]

FORMAT_VERSION = 1
_METADATA_KEY = b"bocage-index"
_PATH, _DATES, _COUNTS = "path:", "dates:", "counts:"
CLEAR, CLEAR_DATES = "clear:", "clear_dates:"
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
            columns[_COUNTS + name] = pa.array(counts, _list_of(pa.int64()))
        if any(r.window is not None for r in records):
            columns["window"] = pa.array([r.window for r in records], _list_of(pa.int32()))
        columns["geometry"] = pa.array(_footprints(records), pa.binary())
        return cls(pa.table(columns), layout, problems)

    @classmethod
    def read(
        cls,
        path: Path,
        names: Collection[str] | None = None,
        counts: bool | Collection[str] = True,
    ) -> PatchIndex:
        """Open an index written by `write`, at a path or at an address such as s3://bucket/….

        `names` (modalities, label sets) limits the paths and dates that are held in memory, and
        `counts` to those of some tasks, or to none; False also leaves the clear shares of single
        dates on disk: a run opens what it uses.
        """
        where: Any = path
        if remote_address(path) is not None:
            where = pa.py_buffer(byte_source(path.parent).whole(path.name))
        elif not path.is_file():
            raise DataError(
                f"{path}: no index there. Build it with 'bocage data index ROOT --layout LAYOUT'."
            )
        try:
            schema = pq.read_schema(_reader(where))
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
        repeated = [c for c in columns if _is_repeated(c)]
        with pq.ParquetFile(_reader(where), memory_map=True, read_dictionary=repeated) as file:
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

    def part(self, start: int, stop: int) -> PatchIndex:
        """The rows from `start` to before `stop`, free of what they shared with the others."""
        table = self.table.slice(start, stop - start)
        plain = [_plain(field.type) for field in table.schema]
        schema = pa.schema([f.with_type(t) for f, t in zip(table.schema, plain, strict=True)])
        return PatchIndex(table.cast(schema).combine_chunks(), self.layout)

    def moved(
        self, rows: Sequence[int], paths: Sequence[Mapping[str, str]], layout: str
    ) -> PatchIndex:
        """These rows as the index of another layout, in which their files lie at `paths`."""
        table = self.table.take(pa.array(rows, pa.int64()))
        for name in table.column_names:
            if name.startswith(_PATH):
                found = [path.get(name.removeprefix(_PATH)) for path in paths]
                place = table.column_names.index(name)
                table = table.set_column(place, name, pa.array(found, pa.string()))
        # A window says where a patch lies in a file of many.
        kept = [name for name in table.column_names if name != "window"]
        return PatchIndex(table.select(kept).combine_chunks(), layout)

    @classmethod
    def joined(cls, parts: Sequence[PatchIndex]) -> PatchIndex:
        """The rows of several indexes of one dataset, in order."""
        table = pa.concat_tables([part.table for part in parts], promote_options="permissive")
        for place, name in enumerate(table.column_names):
            if _is_repeated(name):
                encoded = table.column(place).combine_chunks().dictionary_encode()
                table = table.set_column(place, name, encoded)
        return cls(table.combine_chunks(), parts[0].layout)

    def with_column(self, name: str, values: pa.Array) -> PatchIndex:
        """The same patches with a further column, or another one in place of that of this name."""
        column = values.dictionary_encode() if _is_repeated(name) else values
        if name in self.table.column_names:
            place = self.table.column_names.index(name)
            table = self.table.set_column(place, name, column)
        else:
            table = self.table.append_column(name, column)
        return PatchIndex(table, self.layout, self.problems)

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
        class_share: Mapping[str, Mapping[str, float]] | None = None,
        clear_dates: int | None = None,
    ) -> PatchIndex:
        """The patches that meet every given condition, in the same order.

        `present` are modalities or label sets that must have a file. `class_share` gives, by task
        and class name, the least share of a patch's labelled pixels; `clear_dates` the least
        number of clear Sentinel-2 dates. An unknown split column, task or class, a domain that the
        index does not hold, and a condition on what it was built without are `ConfigError`s.
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
        for task, shares in (class_share or {}).items():
            mask &= self._holds(task, shares)
        if clear_dates is not None:
            mask &= self.clear_dates() >= clear_dates
        return PatchIndex(self.table.filter(pa.array(mask)).combine_chunks(), self.layout)

    def record(self, patch_id: str) -> PatchRecord:
        """The patch of that id; `ConfigError` with the nearest ids if there is none."""
        position = pc.index(self.table.column("patch_id"), patch_id).as_py()
        if position < 0:
            sample = self.table.column("patch_id").slice(0, 1000).to_pylist()
            message = unknown_name("patch", patch_id, sample)
            raise ConfigError(message if len(message) < 400 else message[:400] + " …")
        return self[position]

    def class_counts(self, task: str | Task) -> NDArray[np.int64]:
        """Pixels per patch and class, (patches, num_classes); 0 where a patch has no label."""
        out = np.zeros((len(self), get_task(task).num_classes), dtype=np.int64)
        rows, counts = self._stored_counts(task)
        out[rows] = counts
        return out

    def clear_dates(self, name: str = SENTINEL2_TS.name) -> NDArray[np.int16]:
        """Clear dates per patch (the default of `SeriesConfig`), (patches,); -1 where unknown."""
        if CLEAR_DATES + name not in self.table.column_names:
            raise ConfigError(
                f"the index does not know how many dates of {name} are clear. Build it again with "
                "'bocage data index', without --no-clear-dates."
            )
        column = self.table.column(CLEAR_DATES + name)
        return np.asarray(pc.fill_null(column, -1).to_numpy(), dtype=np.int16)

    def _stored_counts(self, task: str | Task) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the patches with a label, and their pixels per class, not copied."""
        wanted = get_task(task)
        if _COUNTS + wanted.name not in self.table.column_names:
            return np.zeros(0, np.int64), np.zeros((0, wanted.num_classes), np.int64)
        column = self.table.column(_COUNTS + wanted.name).combine_chunks()
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        return rows, column.flatten().to_numpy().reshape(len(rows), wanted.num_classes)

    def _holds(self, task: str, shares: Mapping[str, float]) -> NDArray[np.bool_]:
        classes = get_task(task).nomenclature.names
        if _COUNTS + get_task(task).name not in self.table.column_names:
            raise ConfigError(
                f"the index has no class counts of {get_task(task).name}: it was opened without, "
                "or the data set has no such labels."
            )
        rows, counts = self._stored_counts(task)
        total = np.maximum(counts.sum(axis=1), 1)
        found = np.ones(len(rows), dtype=bool)
        for name, share in shares.items():
            if name not in classes:
                raise ConfigError(unknown_name(f"class of {task}", name, classes))
            found &= counts[:, classes.index(name)] >= share * total
            found &= counts[:, classes.index(name)] > 0
        mask = np.zeros(len(self), dtype=bool)
        mask[rows] = found
        return mask

    def _among(self, column: str, values: Collection[str]) -> NDArray[np.bool_]:
        chosen = set(values)
        encoded = self.table.column(column).combine_chunks()
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        # Few different texts stand for many rows; the last entry is that of rows without one.
        wanted = np.array([text in chosen for text in encoded.dictionary.to_pylist()] + [False])
        return np.asarray(wanted[encoded.indices.fill_null(-1).to_numpy()], dtype=bool)


def _reader(where: Any) -> Any:
    """What Parquet reads from: a path as it is, a buffer from its start."""
    return pa.BufferReader(where) if isinstance(where, pa.Buffer) else where


def _list_of(values: pa.DataType) -> pa.DataType:
    """A list as Parquet names its elements: an index just built equals one that was read."""
    return pa.list_(pa.field("element", values))


def _repeated(values: list[str | None]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def _is_repeated(column: str) -> bool:
    """Columns of few different texts, held once each."""
    return column in ("domain", "roi") or column.startswith(("split", _DATES))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _all_keys(mappings: Any) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _family(row: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    return [(name.removeprefix(prefix), v) for name, v in row.items() if name.startswith(prefix)]


def _is_wanted(column: str, names: Collection[str] | None, counts: bool | Collection[str]) -> bool:
    if column.startswith(_COUNTS):
        wanted = counts if isinstance(counts, bool) else {get_task(name).name for name in counts}
        return wanted if isinstance(wanted, bool) else column.removeprefix(_COUNTS) in wanted
    if column.startswith(CLEAR):
        return counts is True
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
