"""Splits without leakage: whole groups, like the whole, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import transform

from bocage.data import PatchIndex, PatchRecord
from bocage.data.split import assign
from bocage.data.split.make import SplitPlan, assign_patches, split_index
from bocage.data.split.space import join_neighbours, patch_boxes, roi_names
from bocage.errors import ConfigError


def patch(domain: str, roi: str, i: int, x: float, y: float, counts=None, **fields) -> PatchRecord:
    left, bottom = 850_000 + x, 6_600_000 + y
    return PatchRecord(
        **{
            "patch_id": f"{domain}_{roi}_{i}",
            "domain": domain,
            "roi": roi,
            "year": 2021,
            "epsg": 2154,
            "bounds": (left, bottom, left + 102.4, bottom + 102.4),
            "class_counts": None if counts is None else {"AERIAL_LABEL-COSIA": counts},
            **fields,
        }
    )


def country(domains: int, rois: int, patches: int, seed: int = 0) -> PatchIndex:
    """Domains far from each other, ROIs 5 km apart, patches in a row; classes differ by ROI."""
    rng = np.random.default_rng(seed)
    records = []
    for d in range(domains):
        for r in range(rois):
            mix = rng.dirichlet(np.full(19, 0.2))
            for i in range(patches):
                counts = (512 * 512 * mix).astype(np.int64)
                name = f"D{d:03d}-2021"
                records.append(patch(name, f"R{r}", i, 100_000 * d + 102.4 * i, 5_000 * r, counts))
    return PatchIndex.from_records(records, "flair-hub")


def parts_by(index: PatchIndex, names: np.ndarray, values: np.ndarray) -> dict[str, set]:
    out: dict[str, set] = {}
    for name, value in zip(names.tolist(), values.tolist(), strict=True):
        out.setdefault(name, set()).add(value)
    return out


@pytest.mark.unit
@pytest.mark.parametrize("by", ["roi", "domain"])
def test_whole_units_go_to_one_part_of_about_the_wanted_size(by):
    index = country(20, 6, 8)
    values = assign_patches(index, SplitPlan(by=by, valid=0.15, test=0.2))
    names = roi_names(index)
    if by == "domain":
        names = np.array([name.split()[0] for name in names])
    assert all(len(parts) == 1 for parts in parts_by(index, names, values).values())
    for part, share in (("train", 0.65), ("valid", 0.15), ("test", 0.2)):
        assert np.mean(values == part) == pytest.approx(share, abs=0.04)
    again = assign_patches(index, SplitPlan(by=by, valid=0.15, test=0.2))
    assert (again == values).all()
    other = assign_patches(index, SplitPlan(by=by, valid=0.15, test=0.2, seed=1))
    assert (other != values).any()


@pytest.mark.unit
def test_parts_resemble_the_whole_better_than_chance():
    index = country(20, 6, 4)
    counts = index.class_counts("land-cover").astype(float)

    def distance(values: np.ndarray) -> float:
        shares = [counts[values == p].sum(axis=0) for p in ("train", "valid", "test")]
        whole = counts.sum(axis=0) / counts.sum()
        return sum(np.abs(s / s.sum() - whole).sum() for s in shares)

    values = assign_patches(index, SplitPlan(valid=0.1, test=0.1))
    rng = np.random.default_rng(0)
    rois = roi_names(index)
    units = np.unique(rois)
    chance = []
    for _ in range(30):
        drawn = rng.choice(["train", "valid", "test"], len(units), p=[0.8, 0.1, 0.1])
        chance.append(distance(drawn[np.searchsorted(units, rois)]))
    assert distance(values) < 0.5 * min(chance)


@pytest.mark.property
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_predicted_changes_in_cost_are_the_real_ones(seed):
    rng = np.random.default_rng(seed)
    features = rng.dirichlet(np.ones(9), 5).T
    weights, targets = rng.uniform(0.1, 1, 5), np.array([0.6, 0.3, 0.1])
    parts = np.array([0, 1, 2, *rng.integers(0, 3, 6)])

    def cost(parts: np.ndarray) -> float:
        totals = np.stack([features[parts == p].sum(axis=0) for p in range(3)])
        return float((weights * (totals - targets[:, None]) ** 2 / targets[:, None]).sum())

    totals = np.stack([features[parts == p].sum(axis=0) for p in range(3)])
    group, part, change = assign._best_move(features, weights, targets, totals, parts)
    moved = parts.copy()
    moved[group] = part
    if np.isfinite(change):
        assert cost(moved) - cost(parts) == pytest.approx(change, abs=1e-12)
    gram = features * weights @ features.T
    one, other, change = assign._best_swap(features, weights, targets, totals, parts, gram)
    swapped = parts.copy()
    swapped[[one, other]] = parts[[other, one]]
    assert cost(swapped) - cost(parts) == pytest.approx(change, abs=1e-12)
    for i in range(9):
        for j in range(i):
            tried = parts.copy()
            tried[[i, j]] = parts[[j, i]]
            assert parts[i] == parts[j] or cost(tried) - cost(parts) > change - 1e-12


@pytest.mark.unit
def test_rois_that_touch_or_lie_near_stay_together():
    # The same ground as A 1, in another year and another CRS.
    (east,), (north,) = transform("EPSG:2154", "EPSG:32631", [850_051.2], [6_600_051.2])
    elsewhere = (east - 51.2, north - 51.2, east + 51.2, north + 51.2)
    records = [
        patch("A", "1", 0, 0, 0),
        patch("A", "2", 0, 102.4, 0),  # touches A 1
        patch("A", "3", 0, 0, 300),  # 197.6 m north of A 1
        patch("B", "1", 0, 0, 900),
        patch("C", "1", 0, 0, 0, epsg=32631, bounds=elsewhere),
        patch("D", "1", 0, 0, 0, epsg=None, bounds=None),
        patch("D", "1", 1, 0, 0, epsg=None, bounds=None),
    ]
    index = PatchIndex.from_records(records, "flair-hub")
    assert join_neighbours(index, "roi", 0).tolist() == [0, 0, 1, 2, 0, 3, 3]
    assert join_neighbours(index, "roi", 200).tolist() == [0, 0, 0, 1, 0, 2, 2]
    assert join_neighbours(index, "domain", 0).tolist() == [0, 0, 0, 1, 0, 2, 2]
    boxes, rows = patch_boxes(index)
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert boxes[4].intersection(boxes[0]).area > 0.95 * boxes[0].area


@pytest.mark.unit
def test_a_large_domain_does_not_swallow_what_lies_between_its_rois():
    records = [patch("A", "1", 0, 0, 0), patch("A", "2", 0, 50_000, 50_000)]
    records.append(patch("B", "1", 0, 25_000, 25_000))
    index = PatchIndex.from_records(records, "flair-hub")
    assert join_neighbours(index, "domain", 0).tolist() == [0, 0, 1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12), st.sampled_from([0.0, 60.0, 400.0]))
@pytest.mark.property
def test_no_two_parts_ever_touch(seed, rois, buffer_m):
    rng = np.random.default_rng(seed)
    records = [
        patch("D", f"R{r}", i, x + 102.4 * i, y, rng.integers(0, 99, 19))
        for r, (x, y) in enumerate(rng.uniform(0, 3000, (rois, 2)))
        for i in range(int(rng.integers(1, 4)))
    ]
    index = PatchIndex.from_records(records, "flair-hub")
    try:
        values = assign_patches(index, SplitPlan(valid=0.3, test=0.2, seed=seed, buffer_m=buffer_m))
    except ConfigError:
        assert join_neighbours(index, "roi", buffer_m).max() < 2
        return
    assert set(values) == {"train", "valid", "test"}
    boxes, _ = patch_boxes(index)
    for i in range(len(index)):
        for j in range(i):
            assert values[i] == values[j] or boxes[i].distance(boxes[j]) > buffer_m


@pytest.mark.unit
def test_an_official_test_set_is_kept_and_nothing_beside_it_is_learnt():
    index = country(4, 3, 4)
    official = ["test" if r.domain == "D000-2021" else "train" for r in index]
    beside = patch("D001-2021", "R9", 0, 102.4 * 4, 0)  # touches D000's R0
    records = [*index, beside]
    records = [
        PatchRecord(**{**r.__dict__, "splits": {"split_1": s}})
        for r, s in zip(records, [*official, "train"], strict=True)
    ]
    index = PatchIndex.from_records(records, "flair-hub")
    plan = SplitPlan(valid=0.25, keep_test="split_1")
    out = split_index(index, "split_mine", plan)
    assert out.split_columns == ("split_1", "split_mine")
    test = [r.patch_id for r in out.select({"test"}, "split_mine")]
    assert test == [r.patch_id for r in out.select({"test"}, "split_1")]
    values = out.table.column("split_mine").to_pylist()
    assert values[-1] is None
    assert values.count(None) == 1
    assert 0.15 < values.count("valid") / (values.count("valid") + values.count("train")) < 0.35


@pytest.mark.unit
def test_what_cannot_be_split_is_refused():
    index = country(1, 2, 2)
    for plan, text in (
        (SplitPlan(), "only 2 groups"),
        (SplitPlan(by="domain", test=0.0), "only 1 groups"),
        (SplitPlan(by="patch"), "expected roi or domain"),
        (SplitPlan(valid=0.5, test=0.5), "something must be held out"),
        (SplitPlan(valid=0.0, test=0.0), "something must be held out"),
        (SplitPlan(valid=1.5), "--valid 1.5"),
        (SplitPlan(buffer_m=-1), "--buffer-m -1"),
        (SplitPlan(keep_test="split_1"), "unknown split column 'split_1'"),
    ):
        with pytest.raises(ConfigError, match=text):
            assign_patches(index, plan)
    plan = SplitPlan(test=0.0, valid=0.5)
    with pytest.raises(ConfigError, match="begins with 'split'"):
        split_index(index, "mine", plan)
    once = split_index(index, "split_mine", plan)
    assert sorted(set(once.table.column("split_mine").to_pylist())) == ["train", "valid"]
    with pytest.raises(ConfigError, match="has it already"):
        split_index(once, "split_mine", plan)
    assert len(split_index(once, "split_mine", plan, replace=True).split_columns) == 1
