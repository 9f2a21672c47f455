"""Malformed and unusual GeoTIFFs, each in place of a product: told in bounded time and memory."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from bocage.data import verify_dataset

PRODUCTS = ("AERIAL_RGBI", "SENTINEL2_TS", "AERIAL_LABEL-COSIA")
# Beyond the libraries of an idle process; a patch of FLAIR-HUB takes some 20 MB.
MOST_BYTES = 150 * 2**20
MOST_SECONDS = 120.0
READABLE = {"real__flair_mask_localcs_rgf93"}
"""What is right where the test puts it: a mask of FLAIR #2 among FLAIR #2's masks."""


def odd_files(real_data: Path) -> list[Path]:
    found = sorted(p for p in (real_data / "odd").iterdir() if p.suffix in (".tif", ".tiff"))
    assert len(found) > 60
    return found


def check(root: Path, layout: str, out: Path) -> dict[str, list[str]]:
    """Patch id to what was said of it; every sentence is fit for people."""
    started = time.monotonic()
    report = verify_dataset(root, layout, out, workers=2, time_limit_s=20)
    print(f"{layout}: {time.monotonic() - started:.1f} s, peak {report.peak_bytes / 2**20:.0f} MiB")
    assert time.monotonic() - started < MOST_SECONDS
    assert report.peak_bytes < MOST_BYTES
    told: dict[str, list[str]] = {}
    for finding in report.findings:
        assert finding.kind != "stuck", finding.text
        assert "Traceback" not in finding.text
        if finding.patch_id and finding.severity == "error" and finding.kind != "neighbours":
            told.setdefault(finding.patch_id, []).append(finding.text)
    return told


@pytest.mark.real
def test_in_place_of_a_product_of_flair_hub(real_data, hub, tmp_path):
    places: dict[str, Path] = {}
    for number, source in enumerate(odd_files(real_data)):
        for row, product in enumerate(PRODUCTS):
            target = hub.path(product, "D004-2021", "AA-S1-32", f"{row}-{number}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            # A mask of FLAIR #2 is a label like any other: its codes are class ids here too.
            if source.stem not in READABLE or product != "AERIAL_LABEL-COSIA":
                places[f"D004-2021_AA-S1-32_{row}-{number}"] = target
    hub.dates(["D004-2021_AA-S1-32_1-1"])
    told = check(hub.root, "flair-hub", tmp_path / "out")
    assert told.keys() == places.keys()
    for patch_id, texts in told.items():
        assert any(places[patch_id].name in text for text in texts), texts


@pytest.mark.real
def test_in_place_of_an_image_or_a_mask_of_flair_1(real_data, tmp_path):
    root = tmp_path / "flair"
    images, masks = (
        root / f"flair_{kind}_train" / "D004_2021" / "Z10_AU" / folder
        for kind, folder in (("aerial", "img"), ("labels", "msk"))
    )
    for folder in (images, masks):
        folder.mkdir(parents=True)
    sound = next((real_data / "flair2").rglob("IMG_*.tif"))
    names = {}
    for number, source in enumerate(odd_files(real_data)):
        shutil.copyfile(source, images / f"IMG_{number:06d}.tif")
        names[f"D004_2021_Z10_AU_{number:06d}"] = source.stem
        other = number + 1000
        shutil.copyfile(sound, images / f"IMG_{other:06d}.tif")
        shutil.copyfile(source, masks / f"MSK_{other:06d}.tif")
        names[f"D004_2021_Z10_AU_{other:06d}"] = source.stem
    told = check(root, "flair", tmp_path / "out")
    silent = {names[patch_id] for patch_id in names.keys() - told.keys()}
    # Its own image lies elsewhere, and that is what is said of it there.
    misplaced = [t for texts in told.values() for t in texts if "to the same ground" in t]
    assert silent <= READABLE
    assert len(misplaced) == len(READABLE - silent)
    for patch_id, texts in told.items():
        number = patch_id.rsplit("_", 1)[1]
        assert any(f"_{number}.tif" in text for text in texts), texts
