"""The landscape as a function of place: exact seams, the same numbers every time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window as RasterWindow

from bocage.simulate.area import AREA_DOMAIN
from bocage.simulate.dataset import plan_patches
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY, Use
from bocage.simulate.folder import SIMULATOR_VERSION
from bocage.simulate.golden import golden_checks
from bocage.simulate.hashing import choose, choose_each, draw, hash_at, make_key
from bocage.simulate.landscape import MAX_HEIGHT_M, Landscape
from bocage.simulate.landuse import Kind
from bocage.simulate.noise import Window, value_noise, value_noise_at, value_noise_gradient
from bocage.simulate.render import render_past, render_present, render_series
from bocage.simulate.sites import PATCH_CM, area_corner, regions
from bocage.simulate.sky import (
    Granule,
    Sky,
    sentinel1_days,
    sentinel2_days,
    soil_moisture,
    weather,
)

SEED = 7


@pytest.mark.unit
def test_hashes_are_uniform_independent_and_fixed():
    numbers = draw(hash_at(make_key("test"), np.arange(20_000)), 0)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(float(numbers.mean()) - 0.5) < 0.01
    neighbour = np.corrcoef(numbers[:-1], numbers[1:])[0, 1]
    stream = np.corrcoef(numbers, draw(hash_at(make_key("test"), np.arange(20_000)), 1))[0, 1]
    assert abs(neighbour) < 0.03
    assert abs(stream) < 0.03
    # SplitMix64 and BLAKE2b are the same on every machine: so must these be.
    assert make_key("D068-2021", 7) == 12876633064878423826
    assert int(hash_at(1, 2, 3)[0]) == 12053230440427155646


@pytest.mark.unit
def test_keys_do_not_confuse_names_and_numbers():
    keys = {make_key("a", 1), make_key("a", "1"), make_key("a1"), make_key("a", 1, ""), make_key(1)}
    assert len(keys) == 5


@pytest.mark.unit
def test_choice_follows_the_weights():
    numbers = draw(hash_at(3, np.arange(40_000)), 0)
    share = np.bincount(choose(numbers, [1, 0, 3]), minlength=3) / 40_000
    assert share == pytest.approx([0.25, 0, 0.75], abs=0.01)


@pytest.mark.unit
def test_choice_with_own_weights_follows_each_row():
    weights = np.repeat(np.array([[1, 0, 3], [0, 2, 0]], dtype=np.float32), 20_000, axis=0)
    chosen = choose_each(draw(hash_at(3, np.arange(40_000)), 0), weights)
    share = np.bincount(chosen[:20_000], minlength=3) / 20_000
    assert share == pytest.approx([0.25, 0, 0.75], abs=0.01)
    assert set(chosen[20_000:]) == {1}


@pytest.mark.unit
def test_noise_has_its_derivative_and_its_values_anywhere():
    window = Window(123_400, -56_700, 10, 60, 50)
    field, east, south = value_noise_gradient(window, 3_000, 11)
    assert np.array_equal(field, value_noise(window, 3_000, 11))
    down, across = np.gradient(field.astype(np.float64), 0.1)
    inner = (slice(2, -2), slice(2, -2))
    assert east[inner] == pytest.approx(across[inner], abs=2e-3)
    assert south[inner] == pytest.approx(down[inner], abs=2e-3)
    u, v = np.meshgrid(window.u, window.v)
    points = value_noise_at(u.reshape(-1), v.reshape(-1), 3_000, 11)
    assert np.array_equal(points, field.reshape(-1))


@pytest.mark.property
@settings(max_examples=25, deadline=None)
@given(
    domain=st.sampled_from(DOMAINS),
    past=st.booleans(),
    corner=st.tuples(st.integers(0, 200_000), st.integers(0, 250_000)),
    offset=st.tuples(st.integers(0, 90), st.integers(0, 90)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    step_cm=st.sampled_from([20, 40, 128]),
)
def test_a_place_is_the_same_in_every_window(domain, past, corner, offset, size, step_cm):
    land = Landscape(domain, SEED, past=past)
    whole = land.scene(Window(corner[0] * 20, corner[1] * 20, step_cm, 150, 150))
    (left, top), (width, height) = offset, size
    part = land.scene(
        Window(
            corner[0] * 20 + left * step_cm, corner[1] * 20 + top * step_cm, step_cm, width, height
        )
    )
    cut = (slice(top, top + height), slice(left, left + width))
    for name in ("surface", "ground", "height", "tone", "crown"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[cut]), name
    for name in ("hash", "crop", "kind", "direction"):
        ours = getattr(part.owner, name)[part.parcel]
        assert np.array_equal(ours, getattr(whole.owner, name)[whole.parcel[cut]]), name
    assert part.height.min() >= 0
    assert part.height.max() <= MAX_HEIGHT_M


@pytest.mark.unit
def test_neighbouring_patches_are_cut_from_one_image():
    domain = DOMAINS[0]
    region = regions(domain, SEED, 1, 2)[0]
    land, past = Landscape(domain, SEED), Landscape(domain, SEED, past=True)
    granule = Granule.at(domain, SEED, region.u, region.v)
    # The right half of one patch with the left half of the next, against both patches.
    left = Window(region.u, region.v, 20, 512, 512)
    right = Window(region.u + PATCH_CM, region.v, 20, 512, 512)
    middle = Window(region.u + PATCH_CM // 2, region.v, 20, 512, 512)
    for render in (
        lambda w: render_present(land, w),
        lambda w: render_past(past, w),
        lambda w: render_series(land, w.resampled(1_024), granule),
    ):
        a, b, between = render(left), render(right), render(middle)
        for name, image in between.items():
            half = image.shape[2] // 2
            assert np.array_equal(image[:, :, :half], a[name][:, :, half:]), name
            assert np.array_equal(image[:, :, half:], b[name][:, :, :half]), name


@pytest.mark.integration
def test_an_area_shows_the_same_world_as_a_patch(simulated_area: Path):
    side_cm = 15_360
    u, v = area_corner(AREA_DOMAIN, SEED, side_cm)
    land, past = Landscape(AREA_DOMAIN, SEED), Landscape(AREA_DOMAIN, SEED, past=True)
    # A patch that straddles the area's blocks.
    window = Window(u + 5_120, v + 5_120, 20, 512, 512)
    granule = Granule.at(AREA_DOMAIN, SEED, u, v)
    patch = {
        **render_present(land, window, truth=True),
        **render_past(past, window),
        **render_series(land, window.resampled(1_024), granule),
    }
    rasters = {
        "AERIAL_RGBI": "aerial", "AERIAL-RLT_PAN": "historical", "DEM_ELEV": "elevation",
        "SPOT_RGBI": "spot", "SENTINEL2_TS": "sentinel2", "SENTINEL2_MSK-SC": "sentinel2_mask",
        "SENTINEL1-ASC_TS": "sentinel1_asc", "SENTINEL1-DESC_TS": "sentinel1_desc",
        "AERIAL_LABEL-COSIA": "land_cover", "ALL_LABEL-LPIS": "crops",
    }  # fmt: skip
    assert set(patch) == set(rasters)
    for name, stem in rasters.items():
        size = patch[name].shape[1]
        with rasterio.open(simulated_area / f"{stem}.tif") as raster:
            assert raster.profile["tiled"]
            assert raster.crs.to_epsg() == 2154
            assert raster.bounds.right - raster.bounds.left == pytest.approx(153.6)
            seen = raster.read(window=RasterWindow(size // 2, size // 2, size, size))
        assert seen.dtype == patch[name].dtype
        assert np.array_equal(seen, patch[name]), stem


@pytest.mark.integration
def test_an_area_lists_the_dates_of_its_frames(simulated_area: Path):
    for stem, bands in (("sentinel2", 10), ("sentinel1_asc", 2), ("sentinel1_desc", 2)):
        dates = (simulated_area / f"{stem}_dates.txt").read_text().split()
        assert dates == sorted(set(dates))
        with rasterio.open(simulated_area / f"{stem}.tif") as raster:
            assert raster.count == bands * len(dates)


@pytest.mark.unit
def test_this_version_draws_these_very_pixels():
    """The same bytes on every machine. `python -m tools.simulation_goldens` writes the file; when
    it changes, so must `SIMULATOR_VERSION`."""
    golden = json.loads((Path(__file__).parent / "golden.json").read_text())
    assert golden["version"] == SIMULATOR_VERSION
    assert golden_checks() == golden["checks"]


@pytest.mark.unit
def test_another_seed_is_another_country():
    window = Window(1_024_000, 1_024_000, 20, 256, 256)
    first, second = (render_present(Landscape(DOMAINS[0], s), window) for s in (7, 8))
    for name in first:
        assert not np.array_equal(first[name], second[name]), name


@pytest.mark.unit
def test_the_past_has_other_fields_and_fewer_houses():
    built, changed = [0, 0], []
    for k in range(80):
        domain, window = DOMAINS[k % 2], Window(k // 2 * 307_200, 512_000, 320, 128, 128)
        now = Landscape(domain, SEED).scene(window)
        then = Landscape(domain, SEED, past=True).scene(window)
        for era, scene in enumerate((now, then)):
            built[era] += int((scene.surface <= 2).sum())
        # The relief is the same, but for the ditches and banks of roads.
        moved = np.abs(now.ground - then.ground)
        assert moved.max() <= 1.2
        assert (moved == 0).mean() > 0.9
        changed.append(float((now.surface != then.surface).mean()))
    assert built[1] < 0.75 * built[0]
    assert 0.1 < np.mean(changed) < 0.8


@pytest.mark.unit
@pytest.mark.parametrize("key", ["D035-2020", "D080-2021"])
def test_the_past_has_smaller_fields(key):
    """Median of arable parcels by area: the field in which a point lies."""
    median = []
    for past in (False, True):
        areas: list[float] = []
        for k in range(3):
            window = Window(k * 614_400, 409_600, 400, 200, 200)
            scene = Landscape(DOMAINS_BY_KEY[key], SEED, past=past).scene(window)
            field = np.isin(scene.owner.kind, (Kind.FIELD, Kind.PLOWED))
            count = np.bincount(scene.parcel.reshape(-1), minlength=len(field))
            areas.extend(count[field & (scene.owner.use == Use.ARABLE)].tolist())
        area = np.sort(areas)
        median.append(float(area[np.searchsorted(np.cumsum(area), area.sum() / 2)]))
    assert median[1] < 0.5 * median[0]


@pytest.mark.unit
def test_the_mediterranean_has_clearer_skies_and_drier_summers():
    clear, wetness = [], []
    for key in ("D080-2021", "D034-2021", "D030-2021", "D004-2021"):
        granules = [Granule.at(DOMAINS_BY_KEY[key], SEED, k * 2_048_000, 0) for k in range(30)]
        seen = [(each, sentinel2_days(each)) for each in granules]
        skies = [weather(granule, days)[0] == Sky.CLEAR for granule, days in seen]
        clear.append(np.mean([sky.mean() for sky in skies]))
        summer = np.arange(172, 234)
        wetness.append(np.mean([soil_moisture(granule, summer) for granule in granules]))
    assert min(clear[1:]) > 1.5 * clear[0]
    assert max(wetness[1:]) < wetness[0] - 0.05


@pytest.mark.unit
@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: d.key)
def test_every_domain_is_well_formed(domain):
    granule = Granule.at(domain, SEED, 0, 0)
    assert len(domain.uses) == 8
    assert 30 <= len(sentinel2_days(granule)) <= 110
    for orbit in ("ASC", "DESC"):
        days = sentinel1_days(granule, orbit)
        assert (np.diff(days) > 0).all()
        assert len(days) >= 24
    for permanent in (False, True):
        ids, weights = domain.crop_table(permanent)
        assert len(ids) == len(weights)
        assert (weights > 0).all()
    assert domain.sun[0] ** 2 + domain.sun[1] ** 2 == pytest.approx(1, abs=0.01)
    assert domain.sun[2] >= 1.3
    assert 100_000 < domain.anchor_m[0] < 1_240_000


@pytest.mark.unit
def test_regions_never_touch_and_splits_hold_at_any_size():
    for patches in (1, 2, 3, 20):
        plan = plan_patches(DOMAINS[0], SEED, patches, alone=True)
        assert len({p.id for p in plan}) == len(plan) == patches
        wanted = {"train"} | ({"valid"} if patches > 1 else set())
        wanted |= {"test"} if patches in (3, 20) else set()
        assert {p.splits[0] for p in plan} == wanted
    corners = np.array([(r.u, r.v) for r in regions(DOMAINS[0], SEED, 5, 2)]) / PATCH_CM
    gaps = np.abs(corners[:, None] - corners[None]).max(axis=2)[np.triu_indices(5, 1)]
    assert gaps.min() >= 2
