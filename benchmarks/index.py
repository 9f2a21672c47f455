"""Opening the index of a million patches and filtering it, each way in a process of its own.

The rows are simulated: domains, ROIs, splits, paths and dates of every sensor as FLAIR-HUB has
them, class counts of every task, clear dates. The filter asks for a split, domains, two sensors, a
class share and a number of clear dates. The baselines hold only the columns that the filter needs:
a GeoPackage opened with geopandas, a CSV with pandas, both filtered with pandas. Times begin after
the imports; memory is the peak of the process, imports included.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
ROUNDS = 5
INDEX, GEOPACKAGE, CSV = "index.parquet", "patches.gpkg", "patches.csv"

TASK, CLASS, SHARE = "land-cover", "agricultural land", 0.2
SENSORS = ("AERIAL_RGBI", "SENTINEL2_TS")
CLEAR_DATES = 20


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder)
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
    command = [sys.executable, "-m", "benchmarks.index", way, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def simulate(folder: Path, patches: int = PATCHES) -> None:
    """Write the same rows as an index, a GeoPackage and a CSV."""
    rng = np.random.default_rng(0)
    number = np.arange(patches)
    roi = number // PATCHES_PER_ROI
    domain = roi // ROIS_PER_DOMAIN
    domains = np.array([f"D{d:03d}-2021" for d in range(domain[-1] + 1)])[domain]
    rois = np.array([f"AA-S1-{r % ROIS_PER_DOMAIN}" for r in range(roi[-1] + 1)])[roi]
    ids = [
        f"{d}_{r}_{n % PATCHES_PER_ROI}-1" for d, r, n in zip(domains, rois, number, strict=True)
    ]
    split = np.array(["train", "train", "train", "valid", "test"])[rng.integers(0, 5, patches)]
    counts = {name: _counts(rng, patches, task.num_classes) for name, task in TASKS.items()}
    clear = rng.integers(0, 60, patches).astype(np.int16)
    products = [*(m.name for m in FLAIR_HUB_INPUTS), SENTINEL2_MASK]
    products += sorted({task.label_set for task in TASKS.values()})
    columns: dict[str, Any] = {
        "patch_id": ids,
        "domain": pa.array(domains).dictionary_encode(),
        "roi": pa.array(rois).dictionary_encode(),
        "year": np.full(patches, 2021, np.int16),
        "split_1": pa.array(split).dictionary_encode(),
        "epsg": np.full(patches, 2154, np.int32),
    }
    # ROIs of ten patches across, 5 km from each other.
    place = number % PATCHES_PER_ROI
    left = 100_000 + 5_000 * (roi % 200) + PATCH_SIZE_M * (place % 10)
    bottom = 6_100_000 + 5_000 * (roi // 200) + PATCH_SIZE_M * (place // 10)
    sides = (left, bottom, left + PATCH_SIZE_M, bottom + PATCH_SIZE_M)
    columns |= dict(zip(("left", "bottom", "right", "top"), sides, strict=True))
    paths = {
        p: [f"{d}_{p}/{r}/{d}_{p}_{i[10:]}.tif" for d, r, i in zip(domains, rois, ids, strict=True)]
        for p in products
    }
    columns |= {f"path:{name}": values for name, values in paths.items()}
    for name, count in DATES.items():
        texts = pa.array([_days(rng, count) for _ in range(roi[-1] + 1)])
        columns[f"dates:{name}"] = pa.DictionaryArray.from_arrays(pa.array(roi), texts)
    for name, table in counts.items():
        offsets = pa.array(np.arange(patches + 1, dtype=np.int32) * table.shape[1])
        columns[f"counts:{name}"] = pa.ListArray.from_arrays(offsets, table.ravel())
    columns["clear_dates:SENTINEL2_TS"] = clear
    boxes = shapely.box(*sides)
    columns["geometry"] = shapely.to_wkb(boxes)
    PatchIndex(pa.table(columns), "flair-hub").write(folder / INDEX)
    _write_plain(folder, columns, paths, counts["AERIAL_LABEL-COSIA"], boxes)


def _counts(rng: np.random.Generator, patches: int, classes: int) -> np.ndarray[Any, Any]:
    """Pixels per class of patches in which a few classes occur."""
    counts = np.zeros((patches, classes), dtype=np.int64)
    for share in (0.6, 0.3, 0.1):
        counts[np.arange(patches), rng.integers(0, classes, patches)] += int(share * 512 * 512)
    return counts


def _days(rng: np.random.Generator, count: int) -> str:
    days = np.sort(rng.choice(365, count, replace=False)) + np.datetime64("2021-01-01")
    return " ".join(days.astype(str))


def _write_plain(
    folder: Path,
    columns: dict[str, Any],
    paths: dict[str, list[str]],
    counts: np.ndarray[Any, Any],
    boxes: np.ndarray[Any, Any],
) -> None:
    import geopandas as gpd
    import pandas as pd

    plain = {name: columns[name] for name in ("patch_id", "domain", "roi", "split_1")}
    plain |= {name: paths[name] for name in SENSORS}
    plain |= {f"class_{i}": counts[:, i] for i in range(counts.shape[1])}
    plain["clear_dates"] = columns["clear_dates:SENTINEL2_TS"]
    frame = pd.DataFrame(
        {k: v.to_pylist() if isinstance(v, pa.Array) else v for k, v in plain.items()}
    )
    frame.to_csv(folder / CSV, index=False)
    gpd.GeoDataFrame(frame, geometry=boxes, crs="EPSG:2154").to_file(folder / GEOPACKAGE)


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


def main() -> None:
    way, folder = WAYS[sys.argv[1]], Path(sys.argv[2])
    # pyarrow imports pandas with the first array that it hands over.
    import geopandas  # noqa: F401

    wall, cpu = time.perf_counter(), time.process_time()
    rows = way(folder)
    result = {
        "rows": rows,
        "wall_ms": 1000 * (time.perf_counter() - wall),
        "cpu_ms": 1000 * (time.process_time() - cpu),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
