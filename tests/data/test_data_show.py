"""The picture of a patch."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from bocage.data import PatchIndex, show_patch
from bocage.errors import DataError


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
