"""Whether the country is one: water runs downhill, uses follow the ground, classes occur."""

from __future__ import annotations

import numpy as np
import pytest

from bocage.nomenclatures import COSIA, LPIS_1, LPIS_3
from bocage.simulate.benchmark import BENCHMARKS
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY, Use
from bocage.simulate.labels import LABEL_MARGIN_PX, declared, photo_interpreted
from bocage.simulate.landscape import Landscape
from bocage.simulate.landuse import BACKGROUND, Kind, tenure
from bocage.simulate.light import View
from bocage.simulate.network import waters
from bocage.simulate.noise import Window
from bocage.simulate.partition import blocks
from bocage.simulate.patches import draw_up
from bocage.simulate.relief import ground, terrain_at
from bocage.simulate.sites import FLAIR1_SHARES, PATCH_CM
from bocage.simulate.surfaces import Surface

SEED = 7
SEEN_PX = 2_500
"""A hundred square metres at 0.2 m: less of a crop in a patch teaches nothing."""
V1 = BENCHMARKS["v1"]


@pytest.mark.unit
@pytest.mark.parametrize("key", ["D051-2019", "D074-2020", "D012-2019"])
def test_water_runs_downhill(key):
    """From every point of a channel some neighbour in the channel is lower, out to the border."""
    domain = DOMAINS_BY_KEY[key]
    window = Window(512_000, 900_000, 400, 700, 700)
    altitude, bank = ground(window, domain, SEED)
    channel = bank < 6
    assert 0.002 < channel.mean() < 0.2
    around = np.pad(np.where(channel, altitude, np.inf), 3, constant_values=np.inf)
    lowest = np.min(
        [around[3 + i : 703 + i, 3 + j : 703 + j] for i in range(-3, 4) for j in range(-3, 4)],
        axis=0,
    )
    inner = np.zeros_like(channel)
    inner[4:-4, 4:-4] = True
    stuck = channel & inner & (lowest >= altitude)
    # A meander of the middle line can be closer to itself than its banks are: rare points only.
    assert stuck.sum() < 0.01 * channel.sum()
    # Channels lie in valleys: lower than the land around them.
    assert altitude[channel].mean() < altitude[~channel].mean()


@pytest.mark.unit
def test_the_ground_at_points_is_the_ground_of_a_window():
    domain = DOMAINS_BY_KEY["D012-2019"]
    window = Window(300_000, 200_000, 6_000, 40, 30)
    altitude, bank = ground(window, domain, SEED)
    u, v = (axis.reshape(-1) for axis in np.meshgrid(window.u, window.v))
    terrain = terrain_at(u, v, domain, SEED)
    assert np.array_equal(terrain.altitude.reshape(30, 40), altitude)
    # Slopes are over the 60 m that lie between these pixels.
    east, south = np.diff(altitude, axis=1) / 60, np.diff(altitude, axis=0) / 60
    assert terrain.east.reshape(30, 40)[:, :-1] == pytest.approx(east, abs=1e-6)
    assert terrain.south.reshape(30, 40)[:-1] == pytest.approx(south, abs=1e-6)
    assert np.corrcoef(terrain.bank, bank.reshape(-1))[0, 1] > 0.9
    assert (abs(terrain.sunny) <= 1.0001).all()


@pytest.mark.unit
def test_still_water_is_level_and_blocks_meet_without_a_step():
    domain = DOMAINS_BY_KEY["D085-2019"]
    wide = blocks(
        Window(0, 0, 25_600, 40, 40), Landscape(domain, SEED).key("blocks"), domain.block_m * 100
    )
    held = tenure(wide, domain, SEED, past=False)
    seen = 0
    for u, v in wide.site[held.use == Use.LAKE][:6].tolist():
        window = Window(u - 30_000, v - 30_000, 200, 300, 300)
        land = blocks(window, Landscape(domain, SEED).key("blocks"), domain.block_m * 100)
        held = tenure(land, domain, SEED, past=False)
        altitude, bank = ground(window, domain, SEED)
        shore, level = waters(window, land, held, altitude, bank, 3, domain.block_m)
        lake = (held.use == Use.LAKE)[land.nearest] & (shore < 0) & (bank > 2)
        for block in np.unique(land.nearest[lake]):
            here = lake & (land.nearest == block)
            seen += int(here.sum())
            assert np.ptp(level[here]) == 0
        # Two metres a pixel: no step but the bank of a pond.
        assert max(abs(np.diff(level, axis=axis)).max() for axis in (0, 1)) < 6
    assert seen > 2_000


@pytest.mark.unit
@pytest.mark.parametrize("key", [domain.key for domain in DOMAINS])
def test_slopes_are_those_of_real_land(key):
    """Degrees at 5 m: mountains are steep, with little above 45; the plains are flat."""
    domain = DOMAINS_BY_KEY[key]
    slopes, high = [], []
    for k in range(30):
        window = Window(k % 6 * 700_000, k // 6 * 980_000, 500, 40, 40)
        altitude = ground(window, domain, SEED)[0].astype(np.float64)
        down, across = np.gradient(altitude, 5)
        slopes.append(np.degrees(np.arctan(np.hypot(down, across))))
        if domain.snow_line_m is not None:
            high.append(slopes[-1][altitude > domain.snow_line_m])
    slope = np.stack(slopes)
    median, steep = np.percentile(slope, (50, 90))
    if domain.snow_line_m is None:
        assert 1 < median < 14
        assert steep < 26
        assert slope.max() < 45
        return
    assert 12 < median < 21
    assert 24 < steep < 38
    assert (slope > 45).mean() < 0.02
    snow = np.concatenate(high)
    assert snow.size > 100, "ground above the line of snow"
    assert snow.mean() < 30


@pytest.mark.unit
@pytest.mark.parametrize("key", ["D064-2021", "D074-2020", "D004-2021"])
def test_nobody_ploughs_or_builds_on_steep_land(key):
    domain = DOMAINS_BY_KEY[key]
    land = blocks(
        Window(0, 0, 25_600, 60, 60), Landscape(domain, SEED).key("blocks"), domain.block_m * 100
    )
    held = tenure(land, domain, SEED, past=False)
    beyond = held.slope > np.tan(np.radians(20))
    assert beyond.sum() > 300
    assert not np.isin(held.use[beyond], (Use.ARABLE, Use.TOWN, Use.CENTRE, Use.WORKS)).any()
    assert not (held.use == Use.PERMANENT)[held.slope > np.tan(np.radians(30))].any()
    assert np.isin(held.use[beyond], (Use.WOOD, Use.WILD, Use.PASTURE)).mean() > 0.85
    assert np.isin(Use.ARABLE, held.use[~beyond])


@pytest.mark.unit
def test_uses_follow_the_ground():
    domain = DOMAINS_BY_KEY["D012-2019"]
    window = Window(0, 0, 25_600, 60, 60)
    land = blocks(window, Landscape(domain, SEED).key("blocks"), domain.block_m * 100)
    held = tenure(land, domain, SEED, past=False)
    site = land.site.astype(np.int64)
    terrain = terrain_at(site[:, 0], site[:, 1], domain, SEED)
    steep, mild = terrain.slope > 0.15, terrain.slope < 0.05
    wet, dry = held.wet > 0.7, held.wet < 0.2
    assert steep.sum() > 100
    assert wet.sum() > 100
    share = {
        (use, name): float((held.use[where] == use).mean())
        for use in Use
        for name, where in (("steep", steep), ("mild", mild), ("wet", wet), ("dry", dry))
    }
    assert share[Use.WOOD, "steep"] > 1.25 * share[Use.WOOD, "mild"]
    assert share[Use.ARABLE, "steep"] < 0.6 * share[Use.ARABLE, "mild"]
    assert share[Use.LAKE, "wet"] > 1.5 * share[Use.LAKE, "dry"]
    assert held.soil[wet].mean() < held.soil[dry].mean() - 0.1
    # Villages: a town's block has far more towns beside it than chance gives.
    town = np.isin(held.use, (Use.TOWN, Use.CENTRE))
    gap = np.abs(site[:, None] - site[None, :]).max(axis=2)
    beside = (gap < 40_000) & (gap > 0)
    assert beside[town][:, town].sum() / beside[town].sum() > 1.7 * town.mean()
    assert set(np.unique(held.use)) >= {Use.TOWN, Use.CENTRE, Use.LAKE, Use.WILD}


@pytest.mark.unit
def test_vines_and_orchards_seek_slopes_that_face_south():
    """Of some thousand blocks on either side, so that neighbourhoods even out."""
    share = []
    for key in ("D034-2021", "D069-2020"):
        domain = DOMAINS_BY_KEY[key]
        planted, blocks_of = np.zeros((2, 2))
        for k in range(3):
            window = Window(k * 2_000_000, 0, 25_600, 40, 40)
            land = blocks(window, Landscape(domain, SEED).key("blocks"), domain.block_m * 100)
            held = tenure(land, domain, SEED, past=False)
            site = land.site.astype(np.int64)
            terrain = terrain_at(site[:, 0], site[:, 1], domain, SEED)
            for side, faces in enumerate((terrain.sunny > 0.5, terrain.sunny < -0.5)):
                there = faces & (terrain.slope > 0.05)
                blocks_of[side] += there.sum()
                planted[side] += (there & (held.use == Use.PERMANENT)).sum()
        assert blocks_of.min() > 1_000
        share.append(planted / blocks_of)
    south, north = np.transpose(share)
    assert (south > 1.15 * north).all()


@pytest.mark.unit
def test_spring_comes_later_high_above_the_valley():
    """2 to 3.4 days per 100 m (Vitasse et al. 2009)."""
    domain = DOMAINS_BY_KEY["D074-2020"]
    wide, _ = ground(Window(0, 0, 25_600, 60, 60), domain, SEED)
    for place in (wide.argmin(), wide.argmax()):
        row, col = (int(each) for each in np.unravel_index(place, wide.shape))
        scene = Landscape(domain, SEED).scene(Window(col * 25_600, row * 25_600, 800, 32, 32))
        above_m = float(scene.ground.mean()) - domain.altitude_m
        late = float(scene.owner.late[scene.parcel].mean()) - domain.season_days
        # A block has one altitude, that of its middle.
        assert late == pytest.approx(0.027 * above_m, abs=3 + 0.004 * above_m)
    assert above_m > 1_000
    assert late > 25


@pytest.mark.unit
def test_fields_have_the_size_of_their_country():
    """Area-weighted: fields of the open north are several times those of the bocage."""
    sizes = {}
    for key in ("D080-2021", "D035-2020", "D034-2021"):
        land = Landscape(DOMAINS_BY_KEY[key], SEED)
        areas = []
        for k in range(4):
            scene = land.scene(Window(k * 614_400, 409_600, 400, 300, 300))
            arable = np.isin(scene.owner.kind, (Kind.FIELD, Kind.PERMANENT))
            count = np.bincount(scene.parcel.reshape(-1), minlength=len(arable))
            areas.extend((count[arable] * 16 / 10_000).tolist())
        # The field in which a point lies: half the land is in larger ones.
        area = np.sort(areas)
        sizes[key] = float(area[np.searchsorted(np.cumsum(area), area.sum() / 2)])
    assert 1.5 < sizes["D080-2021"] < 5
    assert 0.5 < sizes["D035-2020"] < 1.6
    assert 0.25 < sizes["D034-2021"] < 0.9


@pytest.mark.unit
def test_every_surface_is_painted_somewhere():
    found: set[int] = set()
    for key, u, v in [
        *((domain.key, k * 614_400, 102_400) for domain in DOMAINS for k in range(3)),
        ("D074-2020", 2_048_000, 4_000_000),
    ]:
        scene = Landscape(DOMAINS_BY_KEY[key], SEED).scene(Window(u, v, 320, 320, 320))
        found |= set(np.unique(scene.surface).tolist())
        assert scene.height.min() >= 0
    missing = {Surface(k).name for k in set(Surface) - found}
    assert missing <= {"SNOW", "ROCK"}


@pytest.mark.unit
def test_each_class_grows_in_some_domain_and_each_domain_is_its_own():
    grown = [set(domain.crops) | set(domain.permanent) for domain in DOMAINS]
    assert set.union(*grown) | {"grasses, mixture", "background"} == set(LPIS_3.names)
    # Rice in the south, beet in the north, lavandin in the Alps: half the crops are regional.
    places = {name: sum(name in crops for crops in grown) for name in LPIS_3.names}
    assert sum(count <= len(DOMAINS) // 2 for count in places.values()) >= 20
    assert set(FLAIR1_SHARES) == set(COSIA.names)
    assert sum(FLAIR1_SHARES.values()) == pytest.approx(100, abs=0.3)


@pytest.mark.integration
def test_the_small_benchmark_holds_every_class_in_domains_that_its_test_has_not():
    cover = np.zeros((3, len(COSIA)), dtype=np.int64)
    crops = np.zeros((3, len(LPIS_3)), dtype=np.int64)
    groups = np.zeros((3, len(LPIS_1)), dtype=np.int64)
    taught = np.zeros(len(LPIS_1), dtype=np.int64)
    regions: dict[str, set[str]] = {}
    for plan in V1.plans("small"):
        patches = draw_up(plan)
        regions.setdefault(plan.split, set()).update(patch.domain.key for patch in patches)
        corners = np.array([(patch.window.u0, patch.window.v0) for patch in patches]) // PATCH_CM
        apart = np.abs(corners[:, None] - corners[None]).max(axis=2)
        assert (apart[np.triu_indices(len(patches), 1)] >= 2).all(), "no two patches touch"
        split = ("train", "valid", "test").index(plan.split)
        for patch in patches:
            # The labels that are written, not the truth: a crop that nobody declares is none.
            view = View.unlit(Landscape(patch.domain, V1.seed), patch.window, LABEL_MARGIN_PX)
            drawn, named = photo_interpreted(view), declared(view)
            cover[split] += np.bincount(drawn.reshape(-1), minlength=len(COSIA))
            crops[split] += np.bincount(named[2].reshape(-1), minlength=len(LPIS_3))
            group = np.bincount(named[0].reshape(-1), minlength=len(LPIS_1))
            groups[split] += group
            taught += (group >= SEEN_PX) & (split == 0)
    assert not set.intersection(*regions.values())
    assert (cover.sum(axis=0) > 0).all()
    assert (cover[:, list(COSIA.scored_ids)] > 0).all(), "each split shows every scored class"
    assert (np.delete(crops.sum(axis=0), BACKGROUND) > 0).all()
    asked = groups[2] >= SEEN_PX
    assert asked.sum() >= 15
    assert (taught[asked] >= 3).all(), "what the test asks for is learnt from several patches"
    # Long tails, and towns as FLAIR seeks them.
    share = 100 * cover[0] / cover[0].sum()
    for name, target in FLAIR1_SHARES.items():
        if target > 2:
            assert target / 2.6 < share[COSIA.names.index(name)] < target * 2.6, name
    common = np.sort(np.delete(crops[0], BACKGROUND))[::-1]
    assert common[:5].sum() > 0.38 * common.sum()
    assert common[-20:].sum() < 0.15 * common.sum()
