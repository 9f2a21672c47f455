"""The pictures of a patch, of an ROI, and of the examples of a class."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from rasterio.transform import from_origin

from bocage.data import PatchIndex, show_class, show_patch, show_roi
from bocage.data.show import examples
from bocage.data.show.examples import find_class
from bocage.errors import ConfigError, DataError


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """Every title, legend entry and heading of the figure that is saved."""
    seen: list[str] = []
    save = Figure.savefig

    def spy(figure, *args, **kwargs):
        for axes in figure.axes:
            seen.append(axes.get_title())
            legend = axes.get_legend()
            seen.extend(t.get_text() for t in (legend.get_texts() if legend else ()))
        seen.append(figure.get_suptitle())
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    return seen


@pytest.mark.integration
def test_a_full_patch(dataset, tmp_path, texts):
    record = PatchIndex.read(dataset.root / "index.parquet")[0]
    show_patch(dataset.root, "flair-hub", record, tmp_path / "patch.png")
    picture = imread(tmp_path / "patch.png")
    assert picture.shape[0] > 600
    assert picture.std() > 0.1
    together = "\n".join(texts)
    for wanted in (
        record.patch_id,
        "AERIAL_RGBI",
        "AERIAL-RLT_PAN",
        "SPOT_RGBI",
        "height above ground (m)",
        "hillshade",
        "SENTINEL2_TS, 2021-07-15",  # the clear date nearest to midsummer
        "SENTINEL1-ASC_TS, 2021-07-14",
        "AERIAL_LABEL-COSIA",
        "ALL_LABEL-LPIS",
        "agricultural land",
        "3 clear of 4 dates",
        "NDVI, cloudy",
        "ascending, 3 dates",
        "descending, 2 dates",
    ):
        assert wanted in together


@pytest.mark.integration
def test_holes_strange_labels_and_a_cloudy_year_are_drawn_too(one_patch, tmp_path, texts):
    dem = np.full((2, 512, 512), np.nan, dtype=np.float32)
    one_patch.replace("DEM_ELEV", dem)
    one_patch.replace("AERIAL_LABEL-COSIA", np.full((1, 512, 512), 77, np.uint8))
    one_patch.replace("SENTINEL2_MSK-SC", np.full((8, 10, 10), 90, np.uint16))
    one_patch.replace("SENTINEL1-ASC_TS", np.zeros((6, 10, 10), np.float32))
    (record,) = one_patch.index()
    show_patch(one_patch.root, "flair-hub", record, tmp_path / "patch.png")
    assert imread(tmp_path / "patch.png").shape[0] > 600
    assert "ignored" in texts
    assert any("0 clear of 4 dates" in text for text in texts)


@pytest.mark.unit
def test_a_patch_without_any_file_is_refused(dataset, tmp_path):
    record = PatchIndex.read(dataset.root / "index.parquet", names=[])[0]
    with pytest.raises(DataError, match="nothing to show"):
        show_patch(dataset.root, "flair-hub", record, tmp_path / "patch.png")
    assert not (tmp_path / "patch.png").exists()


def move(path, column: int, row: int) -> None:
    """Put a file of the fake dataset, all of which lie on one place, on a place of its own."""
    with rasterio.open(path, "r+") as file:
        pixel = file.transform.a
        origin = (850_000.0 + 102.4 * column, 6_600_000.0 - 102.4 * row)
        file.transform = from_origin(*origin, pixel, pixel)


@pytest.fixture
def roi(hub, write_tif):
    """Three of the four patches of a square, their photographs bright towards the south-east."""
    products = ("AERIAL_RGBI", "AERIAL_LABEL-COSIA")
    ids = []
    for number, (row, column) in enumerate(((1, 1), (1, 2), (2, 2))):
        position = f"{row}-{column}"
        ids.append(hub.patch(position=position, products=products))
        image = np.full((4, 512, 512), 40 + 80 * number, np.uint8)
        label = np.full((1, 512, 512), number, np.uint8)
        label[0, 100:140, 300:360] = 6
        for product, array in zip(products, (image, label), strict=True):
            path = hub.path(product, "D004-2021", "AA-S1-32", position)
            write_tif(path, array)
            move(path, column, row)
    hub.index().write(hub.root / "index.parquet")
    return hub


@pytest.mark.integration
def test_an_roi_is_put_together_as_it_lies(roi, tmp_path, texts, monkeypatch):
    pictures = []
    draw = Axes.imshow

    def spy(axes, picture, *args, **kwargs):
        pictures.append(np.ma.asarray(picture))
        return draw(axes, picture, *args, **kwargs)

    monkeypatch.setattr(Axes, "imshow", spy)
    index = PatchIndex.read(roi.root / "index.parquet")
    show_roi(roi.root, index, "D004-2021_AA-S1-32", tmp_path / "roi.png")
    assert imread(tmp_path / "roi.png").shape[0] > 600
    assert "D004-2021 AA-S1-32: 3 patches, 205 x 205 m" in texts
    assert {"AERIAL_RGBI", "AERIAL_LABEL-COSIA"} <= set(texts)
    photograph, labels = pictures
    assert photograph.shape == (1200, 1200, 3)
    middles = [photograph[300, 300], photograph[300, 900], photograph[900, 900]]
    assert middles[0].tolist() == [0, 0, 0]
    assert 0.4 < middles[1][0] < 0.6
    assert middles[2].tolist() == [1, 1, 1]
    assert (photograph[900, 300] == 1).all()  # nothing there: white
    # Building, greenhouse, swimming pool and water are the classes found, in that order.
    assert [int(labels[y, x]) for y, x in ((500, 100), (500, 700), (1100, 700))] == [0, 1, 2]
    assert int(labels[140, 380]) == 3
    assert labels.mask[900, 300]
    assert not labels.mask[900, 900]


@pytest.mark.integration
def test_an_roi_with_a_broken_patch_and_one_that_is_none(roi, tmp_path, texts):
    index = PatchIndex.read(roi.root / "index.parquet")
    roi.path("AERIAL_RGBI", "D004-2021", "AA-S1-32", "2-2").write_bytes(b"II*")
    show_roi(roi.root, index, "AA-S1-32", tmp_path / "roi.png")
    assert any("3 patches, 1 of them unreadable" in text for text in texts)
    with pytest.raises(ConfigError, match="did you mean 'D004-2021_AA-S1-32'"):
        show_roi(roi.root, index, "D004-2021_AA-S1-33", tmp_path / "none.png")
    other = roi.patch("D005-2018", products=["AERIAL_RGBI"])
    assert other
    with pytest.raises(ConfigError, match="say D004-2021_AA-S1-32, D005-2018_AA-S1-32"):
        show_roi(roi.root, roi.index(), "AA-S1-32", tmp_path / "none.png")


@pytest.mark.integration
def test_examples_of_a_class_show_where_most_of_it_is(roi, tmp_path, texts, monkeypatch):
    index = PatchIndex.read(roi.root / "index.parquet")
    assert show_class(roi.root, index, "water", tmp_path / "water.png", count=2) == 2
    assert imread(tmp_path / "water.png").std() > 0.05
    assert any(text.startswith("water (land-cover): 7,200 pixels, 0.916% of all") for text in texts)
    mask = np.zeros((100, 50), bool)
    mask[70:75, 5:9] = True
    rows, columns = examples._window(mask)
    assert mask[rows, columns].sum() == 20
    assert (rows.stop - rows.start, columns.stop - columns.start) == (40, 20)
    with pytest.raises(DataError, match="no patch of the index has 'snow'"):
        show_class(roi.root, index, "snow", tmp_path / "snow.png")


@pytest.mark.unit
def test_examples_come_from_many_rois():
    pixels = np.array([5, 9, 8, 0, 7, 6])
    rois = np.array(["a", "a", "a", "b", "c", "d"])
    assert examples._best(pixels, rois, 4).tolist() == [1, 4, 5, 2]


@pytest.mark.unit
def test_classes_by_name():
    task, found = find_class("buckwheat")
    assert (task.slug, found.id) == ("crops-3", 35)
    assert find_class("crops:vineyard")[0].slug == "crops"
    assert find_class("maize")[0].slug == "crops"
    with pytest.raises(ConfigError, match="say one of land-cover:vineyard, crops:vineyard"):
        find_class("vineyard")
    with pytest.raises(ConfigError, match="did you mean 'greenhouse'"):
        find_class("green house")
    with pytest.raises(ConfigError, match="unknown task 'trees'"):
        find_class("trees:oak")
