"""Crop cubes: NetCDF4 files of 640 m x 640 m with two seasons of Sentinel data and LPIS crops.

One folder per cube: `S2_L2A_10m_*.nc`, `S2_L2A_20m_*.nc` (with the scene classification),
`S1_GRD-ASCENDING_20m_*.nc` and/or `-DESCENDING_`, and `OUTPUT_POLY-110_10m_*.nc` with the crop
codes. A cube becomes patches of `TILE_PX` pixels on its 10 m grid, so that one cube can be learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bocage.data.layouts.base import (
    Layout,
    load_h5py,
    make_series,
    need_folder,
    open_hdf5,
    remap_codes,
    wanted_label_sets,
)
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.modalities import (
    SENTINEL1_ASC_TS,
    SENTINEL1_DESC_TS,
    SENTINEL2_MASK,
    SENTINEL2_TS,
    Modality,
    get_modality,
)
from bocage.nomenclatures import CROPS, CROPS_2, CROPS_3, IGNORE, Task
from bocage.nomenclatures.task import UnknownLabels
from bocage.sample import Sample, Series

TILE_PX = 16
"""Side of a patch on the 10 m grid: 160 m, and 16 patches per cube."""
PIXEL_M = 10.0

_FILES = {
    SENTINEL2_TS.name: "S2_L2A_10m_*.nc",
    SENTINEL2_MASK: "S2_L2A_20m_*.nc",
    SENTINEL1_ASC_TS.name: "S1_GRD-ASCENDING_20m_*.nc",
    SENTINEL1_DESC_TS.name: "S1_GRD-DESCENDING_20m_*.nc",
    CROPS.label_set: "OUTPUT_*.nc",
}
_BANDS_10M = frozenset({"B02", "B03", "B04", "B08"})
# Sentinel-2 scene classification. A shadow is a hole in the series like the cloud that casts it.
_SCL_NODATA, _SCL_CLOUD, _SCL_SNOW = (0, 1), (3, 8, 9, 10), (11,)
_UNKNOWN_NODATA = 65535
# Integers are decibel times 10,000.
_DB_SCALE = 1e-4

# Code of the FAO's Indicative Crop Classification to LPIS ids at levels 1, 2 and 3; `IGNORE`
# where a code does not say which of several classes it is (barley without its season).
_CODES: dict[int, tuple[int, int, int]] = {
    0: (IGNORE, IGNORE, IGNORE),
    1110: (1, 1, 2),  # winter wheat
    1120: (1, 1, 3),  # spring wheat
    1200: (3, 3, 6),  # maize
    1500: (2, 2, IGNORE),  # barley
    1510: (2, 2, 4),  # winter barley
    1520: (2, 2, 5),  # spring barley
    2130: (15, 20, 33),  # vegetables
    5100: (14, 19, 32),  # potatoes
    7900: (11, 15, IGNORE),  # other pulses
    8100: (13, 18, 31),  # sugar beet
    9120: (0, 0, IGNORE),  # grass
}
CROP_CODES = {
    task.name: {code: ids[level] for code, ids in _CODES.items()}
    for level, task in enumerate((CROPS, CROPS_2, CROPS_3))
}
"""Task to {code in the file: class id or 255}."""


class CropCube(Layout):
    """Crop cubes cut into patches. See `bocage.data.layouts.base.Layout`."""

    name = "crop-cube"

    def scan(self, root: Path) -> Iterator[PatchRecord]:
        """Every tile of every cube; `split_cube` is the cube's id, as is the domain."""
        need_folder(root)
        load_h5py()  # said before any file is looked for
        found = False
        for folder in sorted(f for f in root.iterdir() if f.is_dir()):
            files = {name: sorted(folder.glob(pattern)) for name, pattern in _FILES.items()}
            paths = {n: f[0].relative_to(root).as_posix() for n, f in files.items() if f}
            if not paths:
                continue
            found = True
            dates = {}
            size, year = 0, 0
            for name, relative in paths.items():
                with open_hdf5(root / relative) as file:
                    # The campaign is the harvest's: the year in which the two seasons end.
                    year = int(_text(file.attrs["end_date"])[:4])
                    size = max(size, round(len(file["x"]) * _resolution(file) / PIXEL_M))
                    if name in (SENTINEL2_TS.name, SENTINEL1_ASC_TS.name, SENTINEL1_DESC_TS.name):
                        dates[name] = _dates(file)
            for row in range(0, size - TILE_PX + 1, TILE_PX):
                for column in range(0, size - TILE_PX + 1, TILE_PX):
                    yield PatchRecord(
                        patch_id=f"{folder.name}_{row // TILE_PX}-{column // TILE_PX}",
                        domain=folder.name,
                        roi=folder.name,
                        year=year,
                        paths=paths,
                        dates=dates,
                        splits={"split_cube": folder.name},
                        window=(row, column, TILE_PX, TILE_PX),
                    )
        if not found:
            raise DataError(
                f"{root}: no folder with S2_L2A_10m_*.nc or its companions. Point data.root at "
                "the folder that holds one folder per cube."
            )

    def read(
        self,
        root: Path,
        record: PatchRecord,
        modalities: Sequence[str],
        tasks: Sequence[str | Task],
        unknown_labels: UnknownLabels = "refuse",
    ) -> Sample:
        """One tile; 20 m data are repeated onto the 10 m grid."""
        if record.window is None:
            raise DataError(
                f"patch {record.patch_id}: the index gives no window. Build the index again."
            )
        window = record.window
        series: dict[str, Series] = {}
        labels: dict[str, NDArray[np.uint8]] = {}
        grid: dict[str, Any] = {}
        for modality in map(get_modality, modalities):
            if modality.name not in record.paths:
                continue
            path = record.path(root, modality.name)
            with open_hdf5(path) as file:
                grid = _place(file, window)
                if modality is not SENTINEL2_TS:
                    series[modality.name] = _radar(file, modality, window)
                elif SENTINEL2_MASK in record.paths:
                    with open_hdf5(record.path(root, SENTINEL2_MASK)) as coarse:
                        series[modality.name] = _optical(file, coarse, window, record.patch_id)
                else:
                    raise DataError(
                        f"patch {record.patch_id}: {path.parent} has no {_FILES[SENTINEL2_MASK]}, "
                        "which holds six of the ten bands. Fetch it."
                    )
        for label_set, read_by in wanted_label_sets(tasks, record).items():
            path = record.path(root, label_set)
            with open_hdf5(path) as file:
                grid = _place(file, window)
                codes = _window(file["CT"], window)
            for task in read_by:
                table = CROP_CODES[task.name]
                labels[task.name] = remap_codes(codes, table, str(path), unknown_labels)
        return Sample(
            patch_id=record.patch_id,
            year=record.year,
            series=series,
            labels=labels,
            domain=record.domain,
            **grid,
        )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _resolution(file: Any) -> float:
    return abs(float(file["x"][1]) - float(file["x"][0]))


def _dates(file: Any) -> NDArray[np.datetime64]:
    """(T,) datetime64[D] from `timestamp`, seconds since a moment that its units name."""
    units = _text(file["timestamp"].attrs["units"])
    if not units.startswith("seconds since "):
        raise DataError(
            f"{file.filename}: timestamps in '{units}', expected 'seconds since …'. "
            "Convert the file."
        )
    start = np.datetime64(units.removeprefix("seconds since ").replace(" ", "T"), "s")
    seconds = file["timestamp"][()].astype("timedelta64[s]")
    return np.asarray((start + seconds).astype("datetime64[D]"))


def _place(file: Any, window: tuple[int, int, int, int]) -> dict[str, Any]:
    step = _resolution(file)
    left, top = float(file["x"][0]) - step / 2, float(file["y"][0]) + step / 2
    row, column = window[0] * PIXEL_M, window[1] * PIXEL_M
    return {
        "crs": f"EPSG:{int(_text(file.attrs['epsg']))}",
        "transform": (left + column, PIXEL_M, 0.0, top - row, 0.0, -PIXEL_M),
    }


def _window(dataset: Any, window: tuple[int, int, int, int], factor: int = 1) -> NDArray[Any]:
    """The window of the 10 m grid out of (…, H, W), repeated from pixels `factor` times as wide."""
    row, column, height, width = (side // factor for side in window)
    part = dataset[..., row : row + height, column : column + width]
    return np.asarray(part.repeat(factor, axis=-2).repeat(factor, axis=-1))


def _optical(fine: Any, coarse: Any, window: tuple[int, int, int, int], patch_id: str) -> Series:
    dates = _dates(fine)
    if not np.array_equal(dates, _dates(coarse)):
        raise DataError(
            f"patch {patch_id}: {fine.filename} and {coarse.filename} have different dates. "
            "Fetch both again."
        )
    factor = round(_resolution(coarse) / PIXEL_M)
    values = np.stack(
        [
            _window(fine[band], window)
            if band in _BANDS_10M
            else _window(coarse[band], window, factor)
            for band in SENTINEL2_TS.bands
        ],
        axis=1,
    )
    scene = _window(coarse["SCL"], window, factor)
    # Declared nodata is 0, and 65535 occurs undeclared: either in any band is a hole.
    valid = ~np.isin(scene, _SCL_NODATA)
    valid &= ((values != 0) & (values != _UNKNOWN_NODATA)).all(axis=1)
    snow_cloud = np.stack([np.isin(scene, _SCL_SNOW), np.isin(scene, _SCL_CLOUD)], axis=1)
    percent = snow_cloud.astype(np.uint16) * 100
    return make_series(SENTINEL2_TS, values, dates, percent, valid)


def _radar(file: Any, modality: Modality, window: tuple[int, int, int, int]) -> Series:
    factor = round(_resolution(file) / PIXEL_M)
    stored = np.stack([_window(file[band], window, factor) for band in modality.bands], axis=1)
    sigma0 = np.power(10.0, stored * (_DB_SCALE / 10)).astype(np.float32)
    # Nodata is the integer 0; as a decibel value it would be a bright 1.
    sigma0[stored == 0] = 0.0
    return make_series(modality, sigma0, _dates(file), valid=(stored != 0).all(axis=1))
