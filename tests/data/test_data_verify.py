"""What a check says about one patch, and about the patches of an ROI together."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin

from bocage.data import get_layout
from bocage.data.verify.finding import Finding
from bocage.data.verify.ground import Place, check_neighbours
from bocage.data.verify.patch import check_patch, signature


def check(hub, stopped=None):
    """The report on the only patch, and the products in the order in which they were read."""
    layout = get_layout("flair-hub")
    (record,) = layout.scan(hub.root)
    steps: list[str] = []
    return check_patch(hub.root, layout, record, steps.append, stopped or {}), steps


def brief(findings: tuple[Finding, ...]) -> set[tuple[str, str, str]]:
    return {(f.severity, f.kind, f.product) for f in findings}


@pytest.mark.integration
def test_a_sound_patch_has_nothing_but_its_levels(one_patch):
    report, steps = check(one_patch)
    assert report.findings == ()
    assert report.place is not None
    assert report.place.crs == "EPSG:2154"
    assert report.place.bounds == pytest.approx((850_000, 6_599_897.6, 850_102.4, 6_600_000))
    assert report.place.pixel_m == pytest.approx(0.2)
    assert sum(report.levels.values()) == 512 * 512
    assert len(steps) == 10  # seven sensors, two labels, and the mask's grid


BROKEN = {
    "AERIAL_RGBI": (np.zeros((3, 512, 512), np.uint8), "3 bands where AERIAL_RGBI has 4"),
    "SPOT_RGBI": (np.ones((4, 64, 64), np.uint8), "pixels of type uint8 .* has uint16"),
    "AERIAL-RLT_PAN": (np.ones((1, 128, 256), np.uint8), "128 x 256 pixels .* has 256 x 256"),
    "SENTINEL1-ASC_TS": (np.ones((8, 10, 10), np.float32), "4 dates of 2 bands, .* lists 3 dates"),
}


@pytest.mark.integration
@pytest.mark.parametrize("product", BROKEN)
def test_a_wrong_product_is_told_and_hides_no_other(one_patch, product, write_tif):
    array, text = BROKEN[product]
    path = write_tif(one_patch.path(product, "D004-2021", "AA-S1-32", "1-1"), array)
    one_patch.path("DEM_ELEV", "D004-2021", "AA-S1-32", "1-1").write_bytes(b"II*\0 no image")
    findings = check(one_patch)[0].findings
    assert brief(findings) == {("error", "file", product), ("error", "file", "DEM_ELEV")}
    told = next(f for f in findings if f.product == product)

    assert re.search(text, told.text)
    assert path.name in told.text
    assert (told.patch_id, told.domain, told.roi) == (
        "D004-2021_AA-S1-32_1-1",
        "D004-2021",
        "AA-S1-32",
    )
    assert one_patch.root / told.path == path


@pytest.mark.integration
def test_every_label_band_is_told_with_its_values(one_patch):
    labels = np.zeros((3, 512, 512), np.uint8)
    labels[0, 0, :7] = 23
    labels[2, 5, 5] = 200
    labels[1] = 255  # ignored, which is no mistake
    one_patch.replace("ALL_LABEL-LPIS", labels)
    report, _ = check(one_patch)
    assert brief(report.findings) == {("error", "labels", "ALL_LABEL-LPIS")}
    second, first = sorted(f.text for f in report.findings)
    assert "7 label pixels hold values outside the nomenclature 'lpis-1': [23]" in first
    assert "1 label pixels hold values outside the nomenclature 'lpis-3': [200]" in second
    assert sum(report.levels.values()) == 512 * 512


@pytest.mark.integration
def test_a_sensor_on_other_ground_or_in_another_crs(one_patch, write_tif):

    spot = one_patch.path("SPOT_RGBI", "D004-2021", "AA-S1-32", "1-1")
    with rasterio.open(spot, "r+") as file:
        file.transform = from_origin(850_001.6, 6_600_000.0, 1.6, 1.6)
    mask = one_patch.path("SENTINEL2_MSK-SC", "D004-2021", "AA-S1-32", "1-1")
    with rasterio.open(mask, "r+") as file:
        file.transform = from_origin(850_000.0, 6_600_050.0, 10.24, 10.24)
    # Another spelling of the same CRS is none of these.
    local = CRS.from_wkt('LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1]]')
    labels = np.zeros((1, 512, 512), np.uint8)
    one_patch.replace("AERIAL_LABEL-COSIA", labels, crs=local)
    one_patch.replace("SENTINEL1-DESC_TS", np.ones((4, 10, 10), np.float32), crs="EPSG:32631")
    one_patch.replace("SENTINEL1-ASC_TS", np.ones((6, 10, 10), np.float32), crs=None)
    report, _ = check(one_patch)
    errors = tuple(f for f in report.findings if f.severity == "error")
    assert brief(errors) == {
        ("error", "grid", "SPOT_RGBI"),
        ("error", "grid", "SENTINEL2_MSK-SC"),
        ("error", "crs", "SENTINEL1-DESC_TS"),
        ("error", "crs", "SENTINEL1-ASC_TS"),
    }
    texts = {f.product: f.text for f in errors}
    assert "covers (850001.6, 6599897.6)" in texts["SPOT_RGBI"]
    assert "EPSG:32631" in texts["SENTINEL1-DESC_TS"]
    assert "EPSG:2154" in texts["SENTINEL1-DESC_TS"]
    assert "no CRS" in texts["SENTINEL1-ASC_TS"]


@pytest.mark.integration
def test_pixels_of_another_size_and_south_up(one_patch):

    aerial = one_patch.path("AERIAL_RGBI", "D004-2021", "AA-S1-32", "1-1")
    with rasterio.open(aerial, "r+") as file:
        file.transform = from_origin(850_000.0, 6_600_000.0, 60, 60)
    dem = one_patch.path("DEM_ELEV", "D004-2021", "AA-S1-32", "1-1")
    with rasterio.open(dem, "r+") as file:
        file.transform = Affine(0.2, 0, 850_000.0, 0, 0.2, 6_599_897.6)
    texts = [f.text for f in check(one_patch)[0].findings if f.kind == "grid"]
    assert any("pixels of 60 x 60 where AERIAL_RGBI has 0.2 m" in text for text in texts)
    assert any("DEM_ELEV is rotated or not north-up" in text for text in texts)


@pytest.mark.integration
def test_numbers_that_are_no_measurement(one_patch):
    one_patch.replace("AERIAL_RGBI", np.zeros((4, 512, 512), np.uint8))
    one_patch.replace("DEM_ELEV", np.full((2, 512, 512), np.nan, np.float32))
    one_patch.replace("SENTINEL1-ASC_TS", np.full((6, 10, 10), -12.5, np.float32))
    one_patch.replace("SENTINEL2_MSK-SC", np.full((8, 10, 10), 101, np.uint16))
    findings = check(one_patch)[0].findings
    assert brief(findings) == {
        ("note", "values", "AERIAL_RGBI"),
        ("note", "values", "DEM_ELEV"),
        ("note", "values", "SENTINEL1-ASC_TS"),
        ("error", "values", "SENTINEL2_TS"),
    }
    assert any("decibel" in f.text for f in findings)


@pytest.mark.integration
def test_dates_with_an_offset_that_others_do_not_have(hub):
    """Processing baseline 04.00; the fourth date is a cloud, and does not count."""
    hub.days["SENTINEL2_TS"] = ("20211101", "20211201", "20220110", "20220120", "20220201",
                                "20220301", "20220401")  # fmt: skip
    patch = hub.patch()
    hub.dates([patch])
    series = np.full((7, 10, 10, 10), 2000, np.uint16)
    series[:, 2] = 400
    series[3] = 5000
    mask = np.zeros((7, 2, 10, 10), np.uint16)
    mask[3, 1] = 100
    hub.replace("SENTINEL2_MSK-SC", mask.reshape(-1, 10, 10))
    hub.replace("SENTINEL2_TS", series.reshape(-1, 10, 10))
    assert not check(hub)[0].findings
    series[4:] += 1000
    hub.replace("SENTINEL2_TS", series.reshape(-1, 10, 10))
    (finding,) = check(hub)[0].findings
    assert brief([finding]) == {("note", "values", "SENTINEL2_TS")}
    assert "reach 400 before 2022-01-25 and 1400 from then on" in finding.text
    assert "data.sentinel2_offset_from" in finding.text


@pytest.mark.integration
def test_dates_that_repeat_or_are_of_another_year(hub):
    hub.days["SENTINEL2_TS"] = ("20120105", "20210315", "20210315", "20210715")
    hub.dates([hub.patch()])
    texts = [f.text for f in check(hub)[0].findings if f.kind == "dates"]
    assert len(texts) == 2
    assert any("1 dates more than once: 2021-03-15" in text for text in texts)
    assert any("1 of 3 dates are not of 2021" in text for text in texts)


@pytest.mark.integration
def test_what_stopped_a_process_is_not_tried_again(one_patch):
    report, steps = check(one_patch, {"DEM_ELEV": "not read within 60 s"})
    assert brief(report.findings) == {("error", "stuck", "DEM_ELEV")}
    assert "DEM_ELEV" not in steps
    assert "not read within 60 s" in report.findings[0].text


@pytest.mark.integration
def test_the_signature_follows_files_and_dates(one_patch):
    layout = get_layout("flair-hub")
    (record,) = layout.scan(one_patch.root)
    before = signature(one_patch.root, record)
    assert before == signature(one_patch.root, record)
    one_patch.replace("DEM_ELEV", np.ones((2, 512, 512), np.float32))
    after = signature(one_patch.root, record)
    one_patch.days["SENTINEL2_TS"] = ("20201228", "20210315", "20210601", "20210716")
    one_patch.dates(["D004-2021_AA-S1-32_1-1"])
    (dated,) = layout.scan(one_patch.root)
    assert len({before, after, signature(one_patch.root, dated)}) == 3


def place(left: float, top: float, crs: str = "EPSG:2154", pixel: float = 0.2) -> Place:
    return Place(crs, (left, top - 102.4, left + 102.4, top), pixel)


@pytest.mark.unit
def test_neighbours_on_one_grid_are_fine():
    places = [place(850_000 + 102.4 * i, 6_600_000 - 102.4 * j) for i in range(3) for j in range(3)]
    assert check_neighbours("D", "R", [str(i) for i in range(9)], places) == []


@pytest.mark.unit
def test_neighbours_that_overlap_or_lie_between_pixels():
    ids = ["a", "b", "c", "d", "e"]
    places = [
        place(850_000, 6_600_000),
        place(850_102.4, 6_600_000),
        place(850_204.8 + 0.05, 6_600_000),  # a quarter of a pixel beside
        place(850_150.4, 6_600_000 - 51.2),  # across b and c
        place(850_000, 6_700_000, crs="EPSG:32631"),
    ]
    found = {(f.kind, f.patch_id, f.text) for f in check_neighbours("D", "R", ids, places)}
    assert {(kind, patch) for kind, patch, _ in found} == {
        ("neighbours", "c"),
        ("neighbours", "b"),
        ("crs", "e"),
    }
    assert any("0.25 pixels beside the grid" in text for *_, text in found)
    assert any("overlaps d by 54.4 x 51.2" in text for *_, text in found)
