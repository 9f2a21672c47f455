"""The crop levels: what occurs together, and what that says of the tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bocage.data.verify.levels import LEVELS, as_json, count_levels, tabulate
from bocage.nomenclatures import LEVEL_2_PARENTS, LEVEL_3_PARENTS

NAMES = [task.name for task in LEVELS]


def labels(*pixels: tuple[int, int, int]) -> dict[str, np.ndarray]:
    stack = np.array(pixels, dtype=np.uint8).T
    return {name: band.reshape(1, -1) for name, band in zip(NAMES, stack, strict=True)}


def table(*patches: dict[str, np.ndarray]):
    rows, cells, pixels = [], [], []
    for row, patch in enumerate(patches):
        counts = count_levels(patch)
        rows += [row] * len(counts)
        cells += list(counts)
        pixels += list(counts.values())
    ids = [f"patch-{row}" for row in range(len(patches))]
    return tabulate(rows, np.array(cells), np.array(pixels), ids)


def lawful(level_3: np.ndarray) -> dict[str, np.ndarray]:
    level_2 = np.array(LEVEL_3_PARENTS, np.uint8)[level_3]
    return dict(
        zip(NAMES, (np.array(LEVEL_2_PARENTS, np.uint8)[level_2], level_2, level_3), strict=True)
    )


@pytest.mark.property
@given(arrays.arrays(np.uint8, (4, 5), elements=st.integers(0, 45)))
def test_labels_that_follow_the_tree_agree_with_it(level_3):
    found = table(lawful(level_3))
    assert found.findings == []
    assert all(v.agrees is not False for v in found.verdicts)
    seen = {(v.level, v.child) for v in found.verdicts if v.agrees}
    assert {child for level, child in seen if level == 3} == set(level_3.ravel().tolist())
    assert sum(c.pixels for c in found.combinations if c.level == 3) == 20


@pytest.mark.unit
def test_pixels_without_a_class_say_nothing():
    found = table(labels((0, 255, 255), (255, 1, 2), (77, 1, 254)))
    assert [(c.level, c.child, c.parent) for c in found.combinations] == [(3, 2, 1)]
    assert found.findings == []
    assert count_levels({NAMES[0]: np.zeros((2, 2), np.uint8)}) == {}


@pytest.mark.unit
def test_a_few_wrong_labels_are_named_with_their_patches():
    good = labels(*[(1, 1, 2)] * 500)
    bad = labels(*[(1, 1, 2)] * 97, *[(2, 1, 2)] * 3)
    found = table(good, bad)
    (finding,) = found.findings
    assert finding.kind == "levels"
    assert finding.patch_id == "patch-1"
    assert "'wheat' (1) lies under 'barley' (2) on 3 pixels of 1 patches" in finding.text
    assert "Correct these labels. Such as: patch-1." in finding.text
    (verdict,) = [v for v in found.verdicts if (v.level, v.child) == (2, 1)]
    assert verdict.agrees is True
    assert verdict.share == pytest.approx(597 / 600)


@pytest.mark.unit
def test_a_tree_that_is_wrong_is_told_to_be_corrected():
    # Buckwheat stands under "other arable crops" in the tree, by inference.
    found = table(labels(*[(15, 20, 35)] * 1000))
    (finding,) = found.findings
    assert "correct the tree in nomenclatures/crops.py" in finding.text
    line = found.lines()[1]
    assert "level 3 'buckwheat' (35): 0.0% of 1,000 pixels under 'other arable crops'" in line
    assert "most under 'fruits and vegetables' (20)" in line
    (entry,) = [e for e in as_json(found) if e["level"] == 3 and e["class"] == 35]
    assert (entry["tree"], entry["labels"], entry["agrees"]) == (22, 20, False)


@pytest.mark.unit
def test_the_table_as_csv_holds_every_combination():
    text = table(labels((4, 4, 7), (4, 4, 8), (4, 4, 8), (15, 4, 8))).as_csv()
    lines = text.splitlines()
    assert lines[0].startswith("level,child,child_name,parent,parent_name,pixels,patches")
    assert '2,4,"sorghum, millet",4,other cereals,3,1,0.750000,True' in lines
    assert '2,4,"sorghum, millet",15,other arable crops,1,1,0.250000,False' in lines
    assert '3,8,"millet, foxtail",4,"sorghum, millet",3,1,1.000000,True' in lines
    assert len(lines) == 5
