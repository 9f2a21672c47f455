"""What a layout is, and the steps that every layout shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bocage.data.geotiff import crs_agree, epsg_of
from bocage.data.record import PatchRecord
from bocage.errors import ConfigError, DataError
from bocage.modalities import Modality
from bocage.nomenclatures import IGNORE, TASKS, Task, get_task
from bocage.nomenclatures.task import UNKNOWN, UnknownLabels
from bocage.rasters import Grid, describe_crs
from bocage.sample import Sample, Series

LOWEST_ALTITUDE_M = -1000.0
"""Below any land: catches -9999, -32768 and -3.4e38, whichever a DEM uses for its holes."""


class Layout(Protocol):
    """How a dataset lies on disk. Stateless: the same calls from any process give the same."""

    @property
    def name(self) -> str:
        """The layout's name in configs and in the index."""

    def scan(self, root: Path) -> Iterator[PatchRecord]:
        """Every patch under `root`, without footprint and class counts; opens no image.

        Raises `DataError` when `root` does not hold this layout, or when metadata that a found
        file needs is missing.
        """

    def read(
        self,
        root: Path,
        record: PatchRecord,
        modalities: Sequence[str],
        tasks: Sequence[str | Task],
        unknown_labels: UnknownLabels = "refuse",
    ) -> Sample:
        """The wanted sensors and labels of one patch; what the record does not list is absent.

        Raises `DataError` that names the patch or file, the finding and the remedy.
        """

    def own_tasks(self, root: Path) -> tuple[Task, ...]:
        """Tasks of the dataset's own class lists, beside those that come with Bocage."""
        return ()

    def has_official_pixels(self, root: Path) -> bool:
        """Whether pixels are as large as `bocage.modalities` says, rather than as one's own are."""
        return True


def need_folder(root: Path) -> None:
    """A dataset's root must be a folder."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Check data.root.")


def load_h5py() -> ModuleType:
    """h5py, or a `ConfigError` that says how to get it."""
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(
            "this layout reads HDF5 files and needs h5py: pip install 'bocage[hdf5]'."
        ) from error
    module: ModuleType = h5py
    return module


def open_hdf5(path: Path) -> Any:
    """An open HDF5 or NetCDF4 file; one that cannot be read is a `DataError`."""
    try:
        return load_h5py().File(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read as HDF5 ({error}). Check the path, or fetch the file again."
        ) from error


def image_valid(modality: Modality, image: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Pixels (H, W) that hold a measurement, or None when all do; `image` (C, H, W) as stored."""
    if modality.quantity != "elevation":
        return None
    # NaN and infinity fail one of the comparisons too.
    inside = (image > LOWEST_ALTITUDE_M) & (image < np.inf)
    measured: NDArray[np.bool_] = np.logical_and.reduce(inside, axis=0)
    return None if measured.all() else measured


def make_series(
    modality: Modality,
    values: NDArray[Any],
    dates: NDArray[np.datetime64],
    snow_cloud: NDArray[Any] | None = None,
    valid: NDArray[np.bool_] | None = None,
) -> Series:
    """A `Series`, oldest date first, with its nodata pixels marked.

    `values` (T, C, H, W) as stored. Radar backscatter of zero or less has no decibel value and is
    what slices of a pass hold beside their edge; Sentinel-2 writes 0 or 65535 in every band where
    it saw nothing. `valid` (T, H, W) adds what the layout knows.
    """
    if modality.quantity == "sigma0":
        seen = ((values > 0) & np.isfinite(values)).all(axis=1)
    else:
        seen = (values != 0).any(axis=1)
        if modality.nodata is not None:
            seen &= (values != modality.nodata).all(axis=1)
    if valid is not None:
        seen &= valid
    series = Series(values, dates, snow_cloud, None if seen.all() else seen)
    if len(dates) > 1 and (np.diff(dates) < np.timedelta64(0)).any():
        return series.take(np.argsort(dates, kind="stable"))
    return series


def remap_codes(
    raw: NDArray[Any], table: Mapping[int, int], source: str, unknown: UnknownLabels
) -> NDArray[np.uint8]:
    """Targets (H, W) uint8 from a source's own codes; checked before anything is renamed.

    255 (`IGNORE`) stays ignored. Any other code outside `table` is a `DataError` that names
    `source`, or becomes `IGNORE` when `unknown="ignore"`, `UNKNOWN` when it is kept for later.
    """
    codes, positions = np.unique(raw, return_inverse=True)
    strange = [int(code) for code in codes if code != IGNORE and int(code) not in table]
    if strange and unknown == "refuse":
        raise DataError(
            f"{source}: {int(np.isin(raw, strange).sum())} label pixels hold codes outside the "
            f"class list: {strange[:8]}. Correct the file, or set data.unknown_labels=ignore to "
            "leave these pixels out."
        )
    odd = UNKNOWN if unknown == "keep" else IGNORE
    named = {IGNORE: IGNORE, **table}
    renamed = np.array([named.get(int(code), odd) for code in codes], dtype=np.uint8)
    return renamed[positions].reshape(raw.shape)


def place(patch_id: str, grids: Mapping[Path, Grid]) -> dict[str, Any]:
    """`crs` and `transform` of a sample from its files' grids, the label's first.

    The transform is GDAL's (x, width, rotation, y, rotation, height) of the first grid. Raises
    `DataError` when two files say that they lie in different CRS; a different spelling is one CRS.
    """
    if not grids:
        return {}
    first, reference = next(iter(grids.items()))
    crs = reference.crs
    for path, grid in grids.items():
        if not crs_agree(reference.crs, grid.crs):
            raise DataError(
                f"patch {patch_id}: {path.name} lies in {describe_crs(grid.crs)} but {first.name} "
                f"in {describe_crs(reference.crs)}. Warp one of them so that both share one CRS."
            )
        if epsg_of(crs) is None and grid.crs:
            crs = grid.crs
    code = epsg_of(crs)
    text = f"EPSG:{code}" if code is not None else (crs.to_wkt() if crs else None)
    return {"crs": text, "transform": reference.transform.to_gdal()}


def label_tasks(layout: Layout, root: Path) -> tuple[Task, ...]:
    """Every task whose labels the dataset under `root` may hold."""
    return (*TASKS.values(), *layout.own_tasks(root))


def wanted_label_sets(tasks: Sequence[str | Task], record: PatchRecord) -> dict[str, list[Task]]:
    """Label sets that the patch has, each with the wanted tasks that read it."""
    out: dict[str, list[Task]] = {}
    for task in map(get_task, tasks):
        if task.label_set in record.paths:
            out.setdefault(task.label_set, []).append(task)
    return out
