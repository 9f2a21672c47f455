"""Marginals of the real imagery."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import rasterio

from bocage.nomenclatures import FLAIR1_TO_COSIA
from tools.calibrate_simulation.marginals import (
    Array,
    Photographs,
    Years,
    by_month,
    merged,
    ndvi,
    speckle,
)

HEIGHT_STEP_M = 0.2
"""FLAIR #1 and #2 store object heights in steps of 0.2 m."""
_NODATA = 65_535
_CLEAR_SCENE = (4, 5)
"""Classes of Sentinel-2's scene classification: vegetation and bare ground."""

# Crops of the tables (names of the legend) and cubes (land-cover codes of Flanders), by our names.
_TABLE_CROPS = {
    "winter wheat": "winter_common_soft_wheat", "winter barley": "winter_common_barley",
    "spring barley": "spring_common_barley", "winter triticale": "winter_triticale",
    "maize": "maize", "sunflower": "sunflower", "rapeseed": "winter_rapeseed_rape",
    "soy": "soy_soybeans", "grasses, mixture": "longterm_meadows",
    "grasses, monoculture": "temporary_meadows", "spring peas": "spring_peas",
    "vineyard": "vineyards_wine_vine_rebland_grapes",
}  # fmt: skip
_CUBE_CROPS = {
    "winter wheat": 1110, "maize": 1200, "winter barley": 1510, "beetroots": 8100,
    "grasses, mixture": 9120,
}  # fmt: skip
_FEWEST_PARCELS, _FEWEST_PIXELS = 5, 60


def photographs(root: Path) -> Photographs:
    """FLAIR #2 patches: five bands uint8 with object heights, labels coded from 1."""
    found = Photographs()
    lookup = np.full(256, 255, dtype=np.uint8)
    for code, number in FLAIR1_TO_COSIA.items():
        lookup[code] = number
    for path in sorted((root / "flair2" / "aerial").rglob("IMG_*.tif")):
        label = Path(str(path).replace("/aerial/", "/labels/").replace("/img/IMG_", "/msk/MSK_"))
        with rasterio.open(path) as image, rasterio.open(label) as mask:
            bands = image.read()
            found.add(bands[:4], bands[4] * HEIGHT_STEP_M, lookup[mask.read(1)])
    return found


def years(root: Path) -> Years:
    """Crop tables of France, crop cubes of Flanders and woods of Germany."""
    found = Years()
    _tables(root / "crop_series", found)
    places: dict[tuple[str, str], list[dict[str, Array]]] = {}
    for folder in sorted((root / "crop_cubes").iterdir()):
        for crop, curve in _cube(folder, found).items():
            places.setdefault(("Flanders", crop), []).append(curve)
    summers = []
    for path in sorted((root / "treesatai_ts" / "sentinel-ts").glob("*.h5")):
        curve, summer = _wood(path, found)
        places.setdefault(("Germany", "broad-leaved"), []).append(curve)
        summers.append(summer)
    found.curves |= {key: merged(curves) for key, curves in places.items()}
    found.summer["broad-leaved"] = np.median(summers, axis=0)
    return found


def _legend(folder: Path) -> dict[str, int]:
    """Code of every crop in the tables, by its name in their legend."""
    lines = (folder / "legend_ewoc_codes.csv").read_text("utf-8-sig").splitlines()
    rows = [line.split(";") for line in lines[1:]]
    return {row[7]: int(row[0].replace("-", "")) for row in rows}


def _tables(folder: Path, found: Years) -> None:
    """French parcels of 2023 in steps of ten days; radar is stored as (dB + 83) on a log scale."""
    codes = _legend(folder)
    table = pq.read_table(folder / "2023_FRA_LPIS_dekad.geoparquet")
    column = {
        name: np.asarray(table[name])
        for name in ("sample_id", "timestamp", "ewoc_code", "S2-L2A-B04", "S2-L2A-B08",
                     "S1-SIGMA0-VV", "S1-SIGMA0-VH")
    }  # fmt: skip
    when = column["timestamp"].astype("datetime64[D]")
    first = when.astype("datetime64[Y]")
    day = (when - first).astype(int) + 5
    inside = first == np.datetime64("2023", "Y")
    red, nir = column["S2-L2A-B04"].astype(float), column["S2-L2A-B08"].astype(float)
    index = np.where((red < _NODATA) & (nir < _NODATA), ndvi(red, nir), np.nan)
    decibel = {}
    for band in ("VV", "VH"):
        stored = column[f"S1-SIGMA0-{band}"].astype(float)
        known = (stored > 0) & (stored < _NODATA)
        decibel[band] = np.where(known, 20 * np.log10(np.where(known, stored, 1)) - 83, np.nan)
    for crop, name in _TABLE_CROPS.items():
        here = inside & (column["ewoc_code"] == codes[name])
        if len(set(column["sample_id"][here])) >= _FEWEST_PARCELS:
            found.curves["France", crop] = {
                "NDVI": by_month(day[here], index[here]),
                "VV": by_month(day[here], decibel["VV"][here]),
                "VH": by_month(day[here], decibel["VH"][here]),
            }


def _cube(folder: Path, found: Years) -> dict[str, dict[str, Array]]:
    """A cube of Flanders: every date of a year, with scene classification; radar in dB x 10000."""
    curves = {}
    files = {path.name.split("_00")[0]: path for path in folder.glob("*.nc")}
    with (
        h5py.File(files["OUTPUT_POLY-110_10m"]) as labels,
        h5py.File(files["S2_L2A_10m"]) as fine,
        h5py.File(files["S2_L2A_20m"]) as coarse,
        h5py.File(files["S1_GRD-ASCENDING_20m"]) as radar,
    ):
        crop_map = labels["CT"][:]
        days, dated = _cube_days(fine)
        scene = np.kron(coarse["SCL"][:], np.ones((1, 2, 2), dtype=np.uint8))
        clear = np.isin(scene, _CLEAR_SCENE)
        index = np.where(clear, ndvi(fine["B04"][:], fine["B08"][:]), np.nan)
        radar_days, radar_dated = _cube_days(radar)
        decibel = {band: radar[band][:] * 1e-4 for band in ("VV", "VH")}
        found.dates.append(int(dated.sum()))
        found.clear.append(float((clear[dated].mean(axis=(1, 2)) >= 0.95).mean()))
        for crop, code in _CUBE_CROPS.items():
            here = crop_map == code
            if here.sum() < _FEWEST_PIXELS:
                continue
            pure = np.logical_and.reduce([here[i::2, j::2] for i in (0, 1) for j in (0, 1)])
            curve = {"NDVI": by_month(days[dated], index[dated][:, here])}
            for band in ("VV", "VH"):
                values = 10 ** (decibel[band][radar_dated][:, pure] / 10)
                mean = 10 * np.log10(values.mean(axis=1, keepdims=True))
                curve[band] = by_month(radar_days[radar_dated], mean)
            curves[crop] = curve
    return curves


def _cube_days(file: h5py.File) -> tuple[Array, Array]:
    """Days of the year (T,) and which dates lie in the cube's last (whole) year."""
    stamp = file["timestamp"]
    units = stamp.attrs["units"]
    start = datetime.fromisoformat(
        (units.decode() if isinstance(units, bytes) else str(units)).split("since ")[1]
    )
    moments = [start + timedelta(seconds=int(value)) for value in stamp[:]]
    last = moments[-1].year
    days = np.array([moment.timetuple().tm_yday - 1 for moment in moments])
    return days, np.array([moment.year == last for moment in moments])


def _wood(path: Path, found: Years) -> tuple[dict[str, Array], Array]:
    """Curves and summer reflectance (10,) of a wood of TreeSatAI.

    In its samples of 2017 VH repeats VV and pixels are out of order: their radar is left out.
    """
    with h5py.File(path) as file:
        day = np.array(list(_product_days(file["sen-2-products"][:])))
        clear = file["sen-2-masks"][:].reshape(len(day), -1).max(axis=1) <= 1
        bands = file["sen-2-data"][:].astype(float)
        found.dates.append(len(set(day.tolist())))
        found.clear.append(float(clear.mean()))
        index = ndvi(bands[:, 2], bands[:, 6])
        curve = {"NDVI": by_month(day[clear], index[clear].reshape(int(clear.sum()), -1))}
        summer = clear & (day > 150) & (day < 245)
        spectrum = np.median(bands[summer], axis=(0, 2, 3))
        if _year(path) != 2017:
            curve |= _radar(file, found)
    return curve, spectrum


def _radar(file: h5py.File, found: Years) -> dict[str, Array]:
    power = file["sen-1-asc-data"][:].astype(float)
    day = np.array(list(_product_days(file["sen-1-asc-products"][:])))
    whole = (power > 0).all(axis=(1, 2, 3))
    looks, correlation = speckle(power[whole, 0])
    found.looks.append(looks)
    found.correlation.append(correlation)
    mean = 10 * np.log10(power[whole].mean(axis=(2, 3)))
    return {
        "VV": by_month(day[whole], mean[:, :1]),
        "VH": by_month(day[whole], mean[:, 1:]),
    }


def _product_days(names: Array) -> Iterator[int]:
    for name in names:
        text = name.decode() if isinstance(name, bytes) else str(name)
        stamp = re.search(r"20\d{6}", text)
        assert stamp is not None, text
        yield date.fromisoformat(stamp.group()).timetuple().tm_yday - 1


def _year(path: Path) -> int:
    return int(path.stem.rsplit("_", 1)[1])
