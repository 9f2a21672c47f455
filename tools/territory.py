"""A simulated territory, mapped whole and patch by patch, against its true map.

Usage: python -m tools.territory --run RUN --area DIR --out DIR [--side METRES] [key=value ...]

DIR of `--area` is what `bocage simulate DIR --area 5km` writes, RUN a run of all sensors.
`key=value` goes to both maps. Writes `OUT/territory.json`:

- mIoU and accuracy of the map, and of the same network patch by patch (no overlap, as `bocage
  evaluate` sees patches), on the same pixels;
- how often the true hectares lie within what `bocage map areas` says, over the whole map and over
  square zones: the bounds from confidence, and the intervals of 0.95 from a sample of units, drawn
  at random within each mapped class, over many samples; for zones from points (`--samples`), from
  their matrix without places (`--confusion`), and what the rates of the whole would claim.

Pixels whose true class is not scored are left out of both maps.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from bocage.cli.imagery import sources
from bocage.config import parse_options
from bocage.evaluation.scores import score
from bocage.files import write_json
from bocage.mapping import MapConfig, map_area
from bocage.mapping.area_table import measure_areas
from bocage.mapping.estimates import stratified
from bocage.mapping.maps import ClassMap, open_map
from bocage.mapping.samples import read_samples
from bocage.mapping.validation import read_validation
from bocage.mapping.zones import read_zones
from bocage.models import load_bundle
from bocage.nomenclatures import CROPS, LAND_COVER, Task
from bocage.training import RunFolder

TRUTHS = {LAND_COVER.name: (LAND_COVER, "land_cover"), CROPS.name: (CROPS, "crops")}
ZONES_ACROSS, SAMPLES, PER_CLASS, LEVEL = 5, 20, 100, 0.95
SENSORS = ("aerial", "elevation", "spot", "sentinel2", "sentinel1_asc", "sentinel1_desc")


def main(run: Path, area: Path, out: Path, side_m: float | None, words: list[str]) -> None:
    """Map twice, score, and draw samples."""
    bundle = load_bundle(RunFolder(run).bundle if run.is_dir() else run)
    options: dict[str, Any] = {name: str(area / f"{name}.tif") for name in SENSORS}
    for name in SENSORS:
        dates, mask = area / f"{name}_dates.txt", area / f"{name}_mask.tif"
        options |= {f"{name}_dates": dates} if dates.exists() else {}
        options |= {f"{name}_mask": str(mask)} if mask.exists() else {}
    given = sources(options)
    extent = _extent(area, side_m)
    # Patches are the size that the network was trained on, whatever the map's windows are.
    shared = [word for word in words if not word.startswith(("window_px=", "overlap_px="))]
    patches = [*shared, "overlap_px=0", "confidence=false"]
    for name, plan in {"map": words, "patches": patches}.items():
        if not (out / name / "report.json").exists():
            config = parse_options(MapConfig, plan, {"bounds": extent})
            map_area(bundle, given, out / name, config)
    found: dict[str, Any] = {"bounds": extent}
    for meta in bundle.meta.tasks:
        if meta.name in TRUTHS:
            task, truth_name = TRUTHS[meta.name]
            found[meta.name] = _judge(task, area / f"{truth_name}.tif", out, meta.slug)
    write_json(out / "territory.json", found)


def _extent(area: Path, side_m: float | None) -> tuple[float, float, float, float]:
    with rasterio.open(area / "aerial.tif") as dataset:
        left, bottom, right, top = dataset.bounds
    if side_m is None:
        return left, bottom, right, top
    return left, max(bottom, top - side_m), min(right, left + side_m), top


def _judge(task: Task, truth_path: Path, out: Path, slug: str) -> dict[str, Any]:
    with rasterio.open(out / "map" / f"{slug}.tif") as dataset:
        profile, mapped = dataset.profile, dataset.read(1)
        left, top = dataset.transform @ (0, 0)
    with rasterio.open(truth_path) as dataset:
        col, row = ~dataset.transform @ (left, top)
        window = Window(round(col), round(row), mapped.shape[1], mapped.shape[0])
        truth = dataset.read(1, window=window)
    scored = np.isin(truth, [c.id for c in task.nomenclature if c.scored]) & (mapped != 255)
    with rasterio.open(out / "patches" / f"{slug}.tif") as dataset:
        patches = dataset.read(1)
    result: dict[str, Any] = {
        name: _scores(classes[scored], truth[scored], task)
        for name, classes in (("map", mapped), ("patch by patch", patches))
    }
    folder = out / f"masked-{slug}"
    folder.mkdir(exist_ok=True)
    masked = folder / f"{slug}.tif"
    _copy(out / "map" / f"{slug}.tif", masked, scored, profile)
    sure = f"{slug}_confidence.tif"
    _copy(out / "map" / sure, folder / sure, scored, profile)
    result["hectares"] = _coverage(masked, np.where(scored, truth, 255), folder)
    return result


def _scores(found: NDArray[Any], truth: NDArray[Any], task: Task) -> dict[str, float | None]:
    count = task.num_classes
    matrix = np.bincount(truth.astype(np.int64) * count + found, minlength=count**2)
    scores = score(matrix.reshape(count, count), task)
    return {"mIoU": scores.miou, "overall accuracy": scores.overall_accuracy}


def _copy(source: Path, target: Path, keep: NDArray[np.bool_], profile: dict[str, Any]) -> None:
    with rasterio.open(source) as dataset:
        array, tags = np.where(keep, dataset.read(1), 255), dataset.tags(1)
        colormap = dataset.colormap(1) if dataset.colorinterp[0].name == "palette" else None
        whole = dataset.tags()
    plain = {**profile, "driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(target, "w", **plain) as copy:
        copy.write(array.astype(np.uint8), 1)
        copy.update_tags(**whole)
        copy.update_tags(1, **tags)
        if colormap is not None:
            copy.write_colormap(1, colormap)


def _coverage(masked: Path, truth: NDArray[Any], folder: Path) -> dict[str, Any]:
    """Shares of true hectares within bounds and intervals, over classes that the map has."""
    source = open_map(masked)
    height, width = truth.shape
    left, _, _, top = source.grid.bounds
    pixel_m = source.grid.resolution[0]
    edges_y = np.linspace(0, height, ZONES_ACROSS + 1).astype(int)
    edges_x = np.linspace(0, width, ZONES_ACROSS + 1).astype(int)
    shapes, truths = [], {"": np.bincount(truth.ravel(), minlength=256)}
    for i in range(ZONES_ACROSS):
        for j in range(ZONES_ACROSS):
            y0, y1, x0, x1 = edges_y[i], edges_y[i + 1], edges_x[j], edges_x[j + 1]
            ring = (
                left + x0 * pixel_m,
                top - y1 * pixel_m,
                left + x1 * pixel_m,
                top - y0 * pixel_m,
            )
            shapes.append(shapely.box(*ring))
            truths[f"{i}-{j}"] = np.bincount(truth[y0:y1, x0:x1].ravel(), minlength=256)
    layer = gpd.GeoDataFrame({"zone": list(truths)[1:]}, geometry=shapes, crs=source.grid.crs)
    layer.to_file(folder / "zones.gpkg")
    zones = read_zones(folder / "zones.gpkg", source.grid, "zone")
    true_ha = {zone: counts * pixel_m**2 / 1e4 for zone, counts in truths.items()}

    with rasterio.open(masked) as dataset:
        classes = dataset.read(1)
    mapped_ids = [int(c) for c in np.unique(classes) if c != 255]
    strata = {c: np.flatnonzero(classes == c) for c in mapped_ids}
    rng = np.random.default_rng(0)
    judged: dict[str, list[tuple[float, float, float, float, float]]] = {}

    def judge(name: str, row: dict[str, Any], low: float, high: float, estimate: float) -> None:
        """Keep what is said of one class in one zone, where it is mapped or there."""
        key = "" if row["zone"] == "whole map" else row["zone"]
        area_ha = float(true_ha[key][row["class_id"]])
        if row["ha"] > 0 or area_ha > 0:
            scope = "zones" if key else "map"
            kept = (float(low <= area_ha <= high), high - low, estimate - area_ha, area_ha)
            judged.setdefault(f"{name}, {scope}", []).append((*kept, row["zone_ha"]))

    for number in range(SAMPLES):
        drawn = np.concatenate(
            [rng.choice(p, min(PER_CLASS, len(p)), replace=False) for p in strata.values()]
        )
        _write_sample(folder, source, drawn, truth, classes)
        points = read_samples(folder / "sample.gpkg", source, "class")
        matrix = read_validation(folder / "sample.csv", source)
        placed, plain = (
            measure_areas(source, zones, v, level=LEVEL, on_ground=False) for v in (points, matrix)
        )
        for line in placed.to_dict("records"):
            if number == 0:
                judge("bounds", line, line["ha_low"], line["ha_high"], line["ha"])
            judge("points", line, *(line[f"estimate_{c}"] for c in ("low", "high", "ha")))
        for line in plain.to_dict("records"):
            judge("matrix", line, *(line[f"estimate_{c}"] for c in ("low", "high", "ha")))
        for _, rows in placed.groupby("zone", sort=False):
            ha = rows["ha"].to_numpy()
            rates = stratified(matrix.counts_DKK[0], ha / ha.sum(), LEVEL)
            low, high = rates.interval()
            for line, *said in zip(rows.to_dict("records"), low, high, rates.share_K, strict=True):
                judge("rates of the whole", line, *(share * ha.sum() for share in said))
    found: dict[str, Any] = {}
    for name, values in judged.items():
        held, width, error, area_ha, zone_ha = np.array(values).T
        found[name] = {
            "held": float(held.mean()),
            "mean width, ha": float(width.mean()),
            "root mean square error, ha": float(np.sqrt((error**2).mean())),
            "mean true area, ha": float(area_ha.mean()),
            "width over the zone's area": float((width / zone_ha).mean()),
        }
    spread = np.std([true_ha[zone] for zone in list(true_ha)[1:]], axis=0)
    found["true spread between zones, ha"] = float(spread[:255][true_ha[""][:255] > 0].mean())
    found["samples"] = SAMPLES
    found["units per mapped class"] = PER_CLASS
    found["true ha by class"] = {
        source.name(int(c)): round(float(true_ha[""][c]), 2)
        for c in np.flatnonzero(true_ha[""][:255])
    }
    return found


def _write_sample(
    folder: Path,
    source: ClassMap,
    drawn: NDArray[np.intp],
    truth: NDArray[Any],
    classes: NDArray[Any],
) -> None:
    """One sample of pixels twice: as points with places, and as a matrix of counts."""
    rows, cols = np.divmod(drawn, truth.shape[1])
    x, y = source.grid.transform @ (cols + 0.5, rows + 0.5)
    names = np.array([source.name(i) for i in range(256)])
    mapped, true = names[classes.ravel()[drawn]], names[truth.ravel()[drawn]]
    points = gpd.GeoDataFrame(
        {"class": true}, geometry=gpd.points_from_xy(x, y), crs=source.grid.crs
    )
    points.to_file(folder / "sample.gpkg")
    order = [source.name(c) for c in sorted(source.classes)]
    counts = pd.crosstab(mapped, true).reindex(index=order, columns=order, fill_value=0)
    counts.to_csv(folder / "sample.csv", index_label="map")


if __name__ == "__main__":
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--area", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=float, help="Metres of the north-western corner to map.")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    main(asked.run, asked.area, asked.out, asked.side, asked.overrides)
