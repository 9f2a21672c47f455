"""Opening the index of a million patches and filtering it, each way in a process of its own.

The rows are simulated: domains, ROIs, splits, paths and dates of every sensor as FLAIR-HUB has
them, class counts of every task, clear dates. The filter asks for a split, domains, two sensors, a
class share and a number of clear dates. The baselines hold only the columns that the filter needs:
a GeoPackage opened with geopandas, a CSV with pandas, both filtered with pandas. Times begin after
the imports; memory is the peak of the process, imports included.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from benchmarks.measure import Row, amounts
from bocage.data import PatchIndex
from bocage.modalities import FLAIR_HUB_INPUTS, PATCH_SIZE_M, SENTINEL2_MASK
from bocage.nomenclatures import TASKS

PATCHES = 1_000_000
PATCHES_PER_ROI, ROIS_PER_DOMAIN = 85, 38
DATES = {"SENTINEL2_TS": 91, "SENTINEL1-ASC_TS": 95, "SENTINEL1-DESC_TS": 94}
ROUNDS = 3
_CHUNK = 100_000
INDEX, GEOPACKAGE, CSV = "index.parquet", "patches.gpkg", "patches.csv"

TASK, CLASS, SHARE = "land-cover", "agricultural land", 0.2
SENSORS = ("AERIAL_RGBI", "SENTINEL2_TS")
CLEAR_DATES = 20


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _start("simulate", folder)
        found = {way: [_measure(way, folder) for _ in range(ROUNDS)] for way in WAYS}
        kept = {result["rows"] for results in found.values() for result in results}
        assert len(kept) == 1, f"the ways disagree: {kept}"
        rows = []
        for way, title in (("geopackage", "geopandas, GeoPackage"), ("csv", "pandas, CSV")):
            for key, unit in (("cpu_ms", "CPU ms"), ("wall_ms", "ms")):
                rows.append(_row(f"a million rows, against {title}", found, way, key, unit))
            peak = [statistics.median(r["peak_mb"] for r in found[w]) for w in ("ours", way)]
            rows.append(amounts(f"its peak memory, against {title}", *peak, "MB"))
        size = [(folder / file).stat().st_size / 1e6 for file in (INDEX, GEOPACKAGE)]
        return [*rows, amounts("file, against the GeoPackage", *size, "MB")]


def _row(name: str, found: dict[str, list[Any]], way: str, key: str, unit: str) -> Row:
    ours, theirs = ([r[key] for r in found[w]] for w in ("ours", way))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    fast, slow = statistics.median(ours), statistics.median(theirs)
    return Row(name, fast, slow, slow / fast, unit, (min(ratios), max(ratios)))


def _measure(way: str, folder: Path) -> Any:
    return json.loads(_start(way, folder))


def _start(what: str, folder: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.index", what, str(folder)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def simulate(folder: Path, patches: int = PATCHES) -> None:
    """Write the same rows as an index, a GeoPackage and a CSV."""
    rng = np.random.default_rng(0)
    number = np.arange(patches)
    roi = number // PATCHES_PER_ROI
    domain = roi // ROIS_PER_DOMAIN
    domains = pa.array([f"D{d:03d}-2021" for d in range(domain[-1] + 1)])
    rois = pa.array([f"AA-S1-{r}" for r in range(ROIS_PER_DOMAIN)])
    split = pa.array(["train", "valid", "test"])
    columns: dict[str, Any] = {
        "patch_id": pa.array(_names(roi, domain, number, "{d}_{r}_{p}-1")),
        "domain": pa.DictionaryArray.from_arrays(pa.array(domain, pa.int32()), domains),
        "roi": pa.DictionaryArray.from_arrays(pa.array(roi % ROIS_PER_DOMAIN, pa.int32()), rois),
        "year": pa.array(np.full(patches, 2021, np.int16)),
        "split_1": pa.DictionaryArray.from_arrays(
            pa.array(rng.choice(3, patches, p=(0.6, 0.2, 0.2)), pa.int32()), split
        ),
        "epsg": pa.array(np.full(patches, 2154, np.int32)),
    }
    # ROIs of ten patches across, 5 km from each other.
    place = number % PATCHES_PER_ROI
    left = 100_000 + 5_000 * (roi % 200) + PATCH_SIZE_M * (place % 10)
    bottom = 6_100_000 + 5_000 * (roi // 200) + PATCH_SIZE_M * (place // 10)
    sides = (left, bottom, left + PATCH_SIZE_M, bottom + PATCH_SIZE_M)
    columns |= dict(zip(("left", "bottom", "right", "top"), map(pa.array, sides), strict=True))
    products = [*(m.name for m in FLAIR_HUB_INPUTS), SENTINEL2_MASK]
    products += sorted({task.label_set for task in TASKS.values()})
    for name in products:
        pattern = "{d}_NAME/{r}/{d}_NAME_{r}_{p}-1.tif".replace("NAME", name)
        columns[f"path:{name}"] = pa.array(_names(roi, domain, number, pattern), pa.string())
    for name, count in DATES.items():
        texts = pa.array([_days(rng, count) for _ in range(roi[-1] + 1)])
        columns[f"dates:{name}"] = pa.DictionaryArray.from_arrays(pa.array(roi, pa.int32()), texts)
    for name, task in TASKS.items():
        offsets = pa.array(np.arange(patches + 1, dtype=np.int32) * task.num_classes)
        counts = _counts(rng, patches, task.num_classes)
        columns[f"counts:{name}"] = pa.ListArray.from_arrays(offsets, counts.ravel())
    columns["clear_dates:SENTINEL2_TS"] = pa.array(rng.integers(0, 60, patches), pa.int16())
    columns["geometry"] = pa.array(shapely.to_wkb(shapely.box(*sides)), pa.binary())
    table = pa.table(columns)
    PatchIndex(table, "flair-hub").write(folder / INDEX)
    for start in range(0, patches, _CHUNK):
        _write_plain(folder, table.slice(start, _CHUNK), first=start == 0)


def _names(
    roi: np.ndarray[Any, Any], domain: np.ndarray[Any, Any], number: np.ndarray[Any, Any], form: str
) -> Iterator[str]:
    """Ids or paths, made one by one: as a list of Python's they would take gigabytes."""
    for d, r, n in zip(domain.tolist(), roi.tolist(), number.tolist(), strict=True):
        yield form.format(
            d=f"D{d:03d}-2021", r=f"AA-S1-{r % ROIS_PER_DOMAIN}", p=n % PATCHES_PER_ROI
        )


def _counts(rng: np.random.Generator, patches: int, classes: int) -> np.ndarray[Any, Any]:
    """Pixels per class of patches in which a few classes occur."""
    counts = np.zeros((patches, classes), dtype=np.int64)
    for share in (0.6, 0.3, 0.1):
        counts[np.arange(patches), rng.integers(0, classes, patches)] += int(share * 512 * 512)
    return counts


def _days(rng: np.random.Generator, count: int) -> str:
    days = np.sort(rng.choice(365, count, replace=False)) + np.datetime64("2021-01-01")
    return " ".join(days.astype(str))


def _write_plain(folder: Path, table: pa.Table, first: bool) -> None:
    import geopandas as gpd

    paths = {f"path:{name}": name for name in SENSORS}
    kept = ["patch_id", "domain", "roi", "split_1", *paths, "clear_dates:SENTINEL2_TS"]
    frame = (
        table.select(kept)
        .to_pandas(strings_to_categorical=False)
        .astype(dict.fromkeys(("domain", "roi", "split_1"), str))
    )
    frame = frame.rename(columns={**paths, "clear_dates:SENTINEL2_TS": "clear_dates"})
    counts = table.column("counts:AERIAL_LABEL-COSIA").combine_chunks().flatten().to_numpy()
    for k, pixels in enumerate(counts.reshape(len(frame), -1).T):
        frame[f"class_{k}"] = pixels
    frame.to_csv(folder / CSV, index=False, header=first, mode="w" if first else "a")
    boxes = shapely.from_wkb(table.column("geometry").to_numpy())
    whole = gpd.GeoDataFrame(frame, geometry=boxes, crs="EPSG:2154")
    whole.to_file(folder / GEOPACKAGE, mode="w" if first else "a")


def _wanted_domains() -> list[str]:
    return [f"D{d:03d}-2021" for d in range(0, 300, 2)]


def ours(folder: Path) -> int:
    index = PatchIndex.read(folder / INDEX, names=SENSORS, counts=(TASK,))
    return len(
        index.select(
            {"train"},
            "split_1",
            domains=_wanted_domains(),
            present=SENSORS,
            class_share={TASK: {CLASS: SHARE}},
            clear_dates=CLEAR_DATES,
        )
    )


def _filter(frame: Any) -> int:
    place = TASKS["AERIAL_LABEL-COSIA"].nomenclature.names.index(CLASS)
    columns = [c for c in frame.columns if c.startswith("class_")]
    total = frame[columns].sum(axis=1)
    kept = frame[
        (frame["split_1"] == "train")
        & frame["domain"].isin(_wanted_domains())
        & frame[list(SENSORS)].notna().all(axis=1)
        & (frame[f"class_{place}"] >= SHARE * total)
        & (frame["clear_dates"] >= CLEAR_DATES)
    ]
    return len(kept)


def geopackage(folder: Path) -> int:
    import geopandas as gpd

    return _filter(gpd.read_file(folder / GEOPACKAGE))


def csv(folder: Path) -> int:
    import pandas as pd

    return _filter(pd.read_csv(folder / CSV))


WAYS: dict[str, Callable[[Path], int]] = {"ours": ours, "geopackage": geopackage, "csv": csv}


def _peak_mb() -> float:
    """Of this program alone: what getrusage says includes whoever started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return float(line.split()[1]) * 1024 / 1e6


def main() -> None:
    if sys.argv[1] == "simulate":
        simulate(Path(sys.argv[2]))
        return
    way, folder = WAYS[sys.argv[1]], Path(sys.argv[2])
    # pyarrow imports pandas with the first array that it hands over.
    import geopandas  # noqa: F401

    wall, cpu = time.perf_counter(), time.process_time()
    rows = way(folder)
    result = {
        "rows": rows,
        "wall_ms": 1000 * (time.perf_counter() - wall),
        "cpu_ms": 1000 * (time.process_time() - cpu),
        "peak_mb": _peak_mb(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
