"""The vocabulary says what FLAIR-HUB's files say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bocage.errors import ConfigError, DataError
from bocage.modalities import FLAIR_HUB_INPUTS, MODALITIES, get_modality
from bocage.nomenclatures import (
    COSIA,
    CROPS,
    FLAIR1,
    FLAIR1_TO_COSIA,
    IGNORE,
    LAND_COVER,
    LEVEL_2_PARENTS,
    LEVEL_3_PARENTS,
    LPIS_1,
    LPIS_2,
    LPIS_3,
    TASKS,
    get_task,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "bands", "size", "dtype", "series"),
    [
        ("AERIAL_RGBI", 4, 512, "uint8", False),
        ("AERIAL-RLT_PAN", 1, 256, "uint8", False),
        ("DEM_ELEV", 2, 512, "float32", False),
        ("SPOT_RGBI", 4, 64, "uint16", False),
        ("SENTINEL2_TS", 10, 10, "uint16", True),
        ("SENTINEL1-ASC_TS", 2, 10, "float32", True),
        ("SENTINEL1-DESC_TS", 2, 10, "float32", True),
    ],
)
def test_the_seven_inputs(name: str, bands: int, size: int, dtype: str, series: bool) -> None:
    modality = get_modality(name)
    assert modality in FLAIR_HUB_INPUTS
    assert len(modality.bands) == bands
    assert modality.size_px == size
    assert modality.dtype == dtype
    assert modality.series is series
    assert all(s > 0 for s in modality.std)


def test_slugs_and_names_find_the_same_modality() -> None:
    for modality in MODALITIES.values():
        assert get_modality(modality.slug) is get_modality(modality.name) is modality


def test_misspelt_modality_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'SPOT_RGBI'\?.*SENTINEL2_TS"):
        get_modality("SPOT_RGB")


def test_unknown_band_lists_the_bands() -> None:
    with pytest.raises(ConfigError, match=r"'swir'.*Valid: blue, green, nir, red"):
        get_modality("aerial").band_indices(("swir",))
    assert get_modality("aerial").band_indices(("nir", "red", "green")) == (3, 0, 1)


def test_class_lists() -> None:
    assert [len(n) for n in (COSIA, LPIS_1, LPIS_2, LPIS_3, FLAIR1)] == [19, 23, 31, 46, 19]
    assert len(COSIA.scored_ids) == 15
    assert FLAIR1.scored_ids == tuple(range(1, 13))
    assert COSIA.by_id(11).name_fr == "vigne"
    assert COSIA.by_id(3).rgb == (0xF8, 0x0C, 0x00)
    assert COSIA.color_table()[9] == (0xFF, 0xF3, 0x0D, 255)
    for nomenclature in (COSIA, LPIS_1, LPIS_2, LPIS_3, FLAIR1):
        assert all(c.name and c.name_fr and len(c.color) == 7 for c in nomenclature)


def test_flair1_maps_by_name() -> None:
    assert sorted(FLAIR1_TO_COSIA) == list(FLAIR1.ids)
    assert sorted(FLAIR1_TO_COSIA.values()) == list(COSIA.ids)
    for code, target in FLAIR1_TO_COSIA.items():
        if code != 19:  # "other" there is "undefined" here
            assert FLAIR1.by_id(code).name == COSIA.by_id(target).name


def test_crop_hierarchy_is_a_tree_in_order() -> None:
    assert len(LEVEL_2_PARENTS) == 31
    assert len(LEVEL_3_PARENTS) == 46
    assert set(LEVEL_2_PARENTS) == set(range(23))
    assert set(LEVEL_3_PARENTS) == set(range(31))
    assert list(LEVEL_2_PARENTS) == sorted(LEVEL_2_PARENTS)
    assert list(LEVEL_3_PARENTS) == sorted(LEVEL_3_PARENTS)
    # Stated without doubt by the facts: 1:1:{2,3}, 5:8:{16}, 12:{16:{28},17:{29,30}}.
    assert [i for i, p in enumerate(LEVEL_3_PARENTS) if p == 1] == [2, 3]
    assert LEVEL_2_PARENTS[LEVEL_3_PARENTS[16]] == 5
    assert [LEVEL_2_PARENTS[LEVEL_3_PARENTS[i]] for i in (28, 29, 30)] == [12, 12, 12]


def test_tasks_by_name_and_slug() -> None:
    assert get_task("crops") is get_task("ALL_LABEL-LPIS") is CROPS
    assert [t.num_classes for t in TASKS.values()] == [19, 23, 31, 46, 13]
    with pytest.raises(ConfigError, match="did you mean 'ALL_LABEL-LPIS'"):
        get_task("ALL_LABEL_LPIS")


def test_label_outside_the_nomenclature_is_refused_or_ignored_but_never_class_zero() -> None:
    raw = np.array([[0, 18, 19], [254, 255, 3]])
    with pytest.raises(DataError, match=r"msk\.tif: 2 label pixels.*\[19, 254\].*unknown_labels"):
        LAND_COVER.to_target(raw, "msk.tif")
    target = LAND_COVER.to_target(raw, "msk.tif", unknown="ignore")
    assert target.tolist() == [[0, 18, IGNORE], [IGNORE, IGNORE, 3]]


@given(st.integers(-70000, 70000), st.sampled_from(list(TASKS)))
def test_any_single_label_value(value: int, name: str) -> None:
    task = TASKS[name]
    target = task.to_target(np.array([[value]]), "x", unknown="ignore")[0, 0]
    classes = dict(task.recode) or {i: i for i in task.nomenclature.ids}
    assert target == classes.get(value, IGNORE)
