"""The lattice and the blocks: every pixel once, weights that sum to one, mirrors in place."""

import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bocage.errors import ConfigError
from bocage.mapping.blend import Blender, window_weight
from bocage.mapping.outputs import TaskOutput
from bocage.mapping.plan import (
    Footprint,
    Lattice,
    Plan,
    alignment_unit,
    as_fraction,
    choose_block_px,
    make_lattice,
    mirrored,
)


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    unit = draw(st.sampled_from([1, 3, 8]))
    window = unit * draw(st.integers(1, 12))
    overlap = unit * draw(st.integers(0, window // unit - 1))
    return make_lattice(window, unit, window, overlap)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Of a whole, or of a part that may reach beyond it; blocks beyond it are left out."""
    lattice, block_px = draw(lattices()), draw(st.integers(8, 90))
    height, width = whole_px = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    if draw(st.booleans()):
        return Plan(height, width, lattice, block_px)
    ends = [sorted(draw(st.sets(st.integers(-99, size + 99), min_size=2, max_size=2)))
            for size in whole_px]  # fmt: skip
    (top, bottom), (left, right) = ends
    assume(top < height and bottom > 0 and left < width and right > 0)
    plan = Plan(
        bottom - top, right - left, lattice, block_px, origin=(top, left), whole_px=whole_px
    )
    beyond = [
        b.index
        for b in plan.blocks
        if b.row0 >= height or b.row1 <= 0 or b.col0 >= width or b.col1 <= 0
    ]
    return replace(plan, left_out=frozenset(beyond))


@pytest.mark.property
@given(plans())
@settings(max_examples=100, deadline=None)
def test_a_parts_windows_are_the_wholes_and_the_halo_holds_them(plan):
    """Whatever the part: all windows of the whole that touch a block, and no other."""
    side = plan.lattice.window_px
    rows, cols = (plan.lattice.starts(size) for size in plan.ground_px)
    seen = np.zeros((plan.height, plan.width), int)
    for block in plan.blocks:
        touching = [
            (row, col)
            for row in rows
            for col in cols
            if row < block.row1 and row + side > block.row0
            and col < block.col1 and col + side > block.col0
        ]  # fmt: skip
        assert plan.windows(block) == touching
        assert touching
        top, bottom, left, right = plan.halo(block)
        assert top <= min(block.row0, touching[0][0])
        assert left <= min(block.col0, touching[0][1])
        assert bottom >= max(block.row1, touching[-1][0] + side)
        assert right >= max(block.col1, touching[-1][1] + side)
        assert (top - rows[0]) % plan.lattice.stride_px == 0
        assert (left - cols[0]) % plan.lattice.stride_px == 0
        placed = plan.on_map(block)
        assert placed.row0 % plan.block_px == placed.col0 % plan.block_px == 0
        seen[placed.row0 : placed.row1, placed.col0 : placed.col1] += 1
    assert seen.max() == 1
    (top, left), (height, width) = plan.origin, plan.ground_px
    assert (seen[max(0, -top) : height - top, max(0, -left) : width - left] == 1).all()


@pytest.mark.property
@given(lattices(), st.integers(1, 150), st.integers(1, 150), st.integers(1, 90))
@settings(max_examples=60, deadline=None)
def test_every_pixel_in_one_block_and_in_some_window(lattice, height, width, block_px):
    plan = Plan(height, width, lattice, block_px)
    count = np.zeros((height, width), int)
    for block in plan.blocks:
        count[block.row0 : block.row1, block.col0 : block.col1] += 1
        covered = np.zeros(block.shape, bool)
        for row, col in plan.windows(block):
            top, left = row - block.row0, col - block.col0
            part = covered[
                max(top, 0) : max(top + lattice.window_px, 0),
                max(left, 0) : max(left + lattice.window_px, 0),
            ]
            assert part.size, "a window that does not touch its block"
            part[:] = True
        assert covered.all()
    assert (count == 1).all()


@pytest.mark.property
@given(
    lattices(),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(8, 90),
    st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=60, deadline=None)
def test_weighted_mean_is_right_and_no_plan_differs(lattice, height, width, block_px, skipped):
    """Random logits in every window, some windows left out: the same bytes in any cut, and the
    probabilities are those of a plain mean with weights that sum to one."""
    tasks = [TaskOutput("t", "t", 3, (0, 2), (4, 9), True, True, (0, 1))]
    side = lattice.window_px

    def there_is(row, col):
        return skipped == 0 or random.Random(row * 1009 + col).random() > skipped

    def logits(row, col):
        rng = torch.Generator().manual_seed(1_000_003 + row * 1009 + col)
        first = 4 * torch.rand((3, side, side), generator=rng)
        # Channels first, channels last, and a view of something larger.
        last = first.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        cropped = torch.nn.functional.pad(first, (0, 3, 0, 5))[:, :side, :side]
        return (first, last, cropped)[(row + 7 * col) % 3]

    def blend(cut):
        plan = Plan(height, width, lattice, cut)
        blender = Blender(lattice, tasks, torch.device("cpu"))
        found = np.zeros((5, height, width), np.uint8)
        for block in plan.blocks:
            blender.begin(block, None)
            for row, col in plan.windows(block):
                if there_is(row, col):
                    blender.add(row, col, {"t": logits(row, col)})
            done = blender.finish()["t"]
            place = (slice(block.row0, block.row1), slice(block.col0, block.col1))
            layers = (done.classes, done.confidence, done.entropy, *done.probabilities)
            for layer, values in zip(found, layers, strict=True):
                layer[place] = values
        return found

    whole = blend(1000)
    np.testing.assert_array_equal(whole, blend(block_px))

    axis = window_weight(lattice).astype(np.float64)
    total, mean = np.zeros((height, width)), np.zeros((2, height, width))
    for row in lattice.starts(height):
        for col in lattice.starts(width):
            place = (
                slice(max(row, 0), min(row + side, height)),
                slice(max(col, 0), min(col + side, width)),
            )
            there = tuple(
                slice(p.start - s, p.stop - s) for p, s in zip(place, (row, col), strict=True)
            )
            if there_is(row, col):
                weight = np.outer(axis, axis)[there]
                total[place] += weight
                mean[:, *place] += weight * logits(row, col).numpy()[::2, *there]
    known = total > 0
    assert known.all() or skipped
    assert (whole[:, ~known] == 255).all()
    gap = (mean[1] - mean[0])[known] / total[known]
    second = 1 / (1 + np.exp(-gap))
    sure = np.maximum(second, 1 - second)
    entropy = -(sure * np.log2(sure) + (1 - sure) * np.log2(1 - sure))
    for layer, share in ((1, sure), (2, entropy), (3, 1 - second), (4, second)):
        np.testing.assert_allclose(whole[layer][known], share * 254, atol=0.52)
    clear = np.abs(gap) > 1e-4
    np.testing.assert_array_equal(whole[0][known][clear], np.where(gap > 0, 9, 4)[clear])


@pytest.mark.unit
def test_threads_share_the_blending_and_change_nothing():
    lattice = make_lattice(256, 1)
    task = TaskOutput("t", "t", 5, tuple(range(5)), tuple(range(5)), entropy=True)
    plan = Plan(900, 700, lattice, 1024)
    (block,) = plan.blocks
    made, before = [], torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            blender = Blender(lattice, [task], torch.device("cpu"))
            blender.begin(block, None)
            for row, col in plan.windows(block):
                rng = torch.Generator().manual_seed(row * 1009 + col + 10**6)
                blender.add(row, col, {"t": 4 * torch.rand((5, 256, 256), generator=rng)})
            made.append(blender.finish()["t"])
            blender.begin(block, None)
            with pytest.raises(KeyError):  # a piece that fails fails the whole
                blender.add(*plan.windows(block)[0], {"another": torch.zeros(5, 256, 256)})
    finally:
        torch.set_num_threads(before)
    for one, other in zip(vars(made[0]).values(), vars(made[1]).values(), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)


@pytest.mark.property
@given(lattices(), st.integers(1, 500))
def test_border_has_half_an_overlap_of_context(lattice, size):
    starts = lattice.starts(size)
    assert starts[0] <= -(lattice.overlap_px // 2)
    assert starts[-1] + lattice.window_px >= size + lattice.overlap_px // 2
    assert all(s < size and s + lattice.window_px > 0 for s in starts)


@pytest.mark.unit
def test_alignment_unit_of_the_flair_hub_sensors():
    ratios = [as_fraction(m) / as_fraction(0.2) for m in (0.2, 0.4, 1.6, 10.24)]
    assert ratios == [1, 2, 8, Fraction(256, 5)]
    assert alignment_unit(ratios) == 256
    assert alignment_unit([Fraction(1, 8)]) == 1


@pytest.mark.unit
def test_default_lattice():
    assert make_lattice(512, 1) == Lattice(512, 384, 64)
    assert make_lattice(512, 256) == Lattice(512, 256, 256)
    assert make_lattice(304, 50) == Lattice(300, 200, 50)
    # One unit alone would leave no stride that overlaps.
    assert make_lattice(128, 256) == Lattice(512, 256, 256)
    assert make_lattice(1, 1) == Lattice(1, 1, 0)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((512, 256, 500, None), ["window_px=500", "multiple of 256", "Nearest: 512"]),
        ((512, 256, 512, 100), ["overlap_px=100", "multiple of 256"]),
        ((512, 1, 64, 64), ["overlap_px=64", "smaller than the window of 64"]),
        ((512, 7777, None, None), ["7777"]),
    ],
)
def test_impossible_lattices_are_refused(arguments, words):
    with pytest.raises(ConfigError) as caught:
        make_lattice(*arguments)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.unit
def test_window_weight_is_smooth_symmetric_and_never_zero():
    weight = window_weight(Lattice(32, 24, 4))
    assert weight.min() > 0
    np.testing.assert_array_equal(weight, weight[::-1])
    assert (weight[8:24] == 1).all()
    assert np.abs(np.diff(weight)).max() < 0.25
    np.testing.assert_allclose(weight[24:] + weight[:8], 1, atol=3e-3)
    assert (window_weight(Lattice(4, 4, 0)) == 1).all()


@pytest.mark.property
@given(st.integers(1, 40), st.integers(0, 90), st.integers(0, 90))
def test_mirror_is_numpys_symmetric_padding(size, before, after):
    expected = np.pad(np.arange(size), (before, after), mode="symmetric")
    np.testing.assert_array_equal(mirrored(-before, size + after, size, Fraction(1)), expected)


@pytest.mark.unit
def test_mirror_of_coarse_pixels_stands_at_the_references_edge():
    # 100 reference pixels are 12.5 of these: the last is half inside and shown, then mirrored.
    found = mirrored(-3, 16, 100, Fraction(8))
    assert found.tolist() == [2, 1, 0, *range(13), 11, 10, 9]


@pytest.mark.unit
def test_block_size_follows_memory():
    lattice, budget = make_lattice(512, 1), 4 * 2**30
    photograph = Footprint(4, 5, 5, 19, 2)
    assert choose_block_px(photograph, lattice, budget) == 4096
    assert choose_block_px(Footprint(400, 500, 500, 19, 2), lattice, budget) == 1024
    assert choose_block_px(Footprint(1e9, 1e9, 1e9, 19, 2), lattice, budget) == 512
    # Logits count as well: with an overlap of fifteen sixteenths fifteen rows of them are held.
    many = Footprint(4, 5, 5, 100, 2)
    assert choose_block_px(many, make_lattice(512, 1, 512, 480), budget) == 512
    assert choose_block_px(many, lattice, budget) == 4096


@pytest.mark.unit
def test_memory_by_hand():
    # Blocks of 4096: 12 windows to a side, which cover 11 * 384 + 512 pixels.
    found = Footprint(4, 5, 5, 19, 2).total_bytes(make_lattice(512, 1), 4096, 4096)
    assert found == 15 * 4736**2 + 4 * 19 * 512**2 * (12 + 2) + 2 * 4 * 4096**2


@pytest.mark.property
@given(plans(), st.data())
@settings(max_examples=60, deadline=None)
def test_all_amounts_are_the_sum_over_blocks(plan, data):
    indices = [block.index for block in plan.blocks]
    left_out = data.draw(st.sets(st.sampled_from(indices)))
    plan = replace(plan, left_out=plan.left_out | left_out)
    pixels = halo_px = windows = 0
    for block in plan.blocks:
        top, bottom, left, right = plan.halo(block)
        pixels += block.shape[0] * block.shape[1]
        halo_px += (bottom - top) * (right - left)
        windows += len(plan.windows(block))
        assert plan.amounts(block).windows == len(plan.windows(block))
        needs = Footprint(0, 1, 0, 0, -2).total_bytes(plan.lattice, *block.shape)
        assert 2 * (bottom - top) * (right - left) <= needs
    assert plan.amounts() == (pixels, halo_px, windows)


@pytest.mark.unit
def test_a_country_is_counted_without_laying_its_windows():
    side_px = 3_687_614  # metropolitan France in pixels of 20 cm, as a square
    found = Plan(side_px, side_px, make_lattice(512, 1, 512, 128), 4096).amounts()
    assert found.pixels == side_px**2
    assert found.windows == pytest.approx(117e6, rel=0.01)
    # As many pixels as no list of windows could have.
    assert list(make_lattice(512, 1).touching(10**15, 384 * 10**12, 384 * 10**12 + 1)) == [
        384 * 10**12 - 448, 384 * 10**12 - 64
    ]  # fmt: skip
