"""What operators and farmers make of the land, and how far that is from the truth."""

from __future__ import annotations

import numpy as np
import pytest
import staged_land as staged
from rasterio.features import sieve

from bocage.nomenclatures import COSIA, LEVEL_2_PARENTS, LEVEL_3_PARENTS, LPIS_3
from bocage.simulate import labels
from bocage.simulate.domains import DOMAINS, DOMAINS_BY_KEY, Use
from bocage.simulate.landscape import Landscape
from bocage.simulate.landuse import BACKGROUND, Kind
from bocage.simulate.light import View
from bocage.simulate.noise import Window
from bocage.simulate.render import render_present
from bocage.simulate.surfaces import Surface

SEED = 7
DOMAIN = DOMAINS_BY_KEY["D024047-2021"]
LAND = Landscape(DOMAIN, SEED)
WHEAT, MAIZE = LPIS_3.names.index("winter wheat"), LPIS_3.names.index("maize")
GRASS = LPIS_3.names.index("grasses, monoculture")


@pytest.mark.unit
def test_a_wrong_declaration_removes_no_rare_crop():
    owner = Landscape(DOMAIN, SEED).scene(Window(0, 0, 640, 600, 600)).owner
    rare = [
        name for name, share in DOMAIN.crops.items() if share < 0.05 * sum(DOMAIN.crops.values())
    ]
    named = labels.named_crops(owner, DOMAIN)
    spoken = named != LPIS_3.names.index("background")
    grown = np.isin(owner.crop, [LPIS_3.names.index(name) for name in rare])
    assert (grown & spoken).sum() > 100
    assert (named == owner.crop)[grown & spoken].all()
    grazed = np.isin(owner.kind, (Kind.ROUGH, Kind.WILD)) & spoken
    assert grazed.any()
    assert not np.isin(owner.use[grazed], (Use.TOWN, Use.CENTRE, Use.WORKS)).any()
    assert 0.02 < (~spoken)[owner.crop != LPIS_3.names.index("background")].mean() < 0.08
    fallow = np.isin(owner.kind, (Kind.FIELD, Kind.PLOWED)) & (owner.crop == BACKGROUND)
    assert fallow.sum() > 50
    assert not spoken[fallow].any()
    assert (owner.kind[fallow] == Kind.PLOWED).all()
    common = np.isin(owner.crop, (WHEAT, MAIZE)) & spoken
    assert 0.005 < (named != owner.crop)[common].mean() < 0.08


@pytest.fixture(scope="module")
def views() -> list[View]:
    """Patches of several domains with the margin that labels need."""
    found = []
    for domain in DOMAINS[:12]:
        land = Landscape(domain, SEED)
        found.append(
            View.unlit(
                land, Window(*staged.varied_corner(land), 20, 512, 512), labels.LABEL_MARGIN_PX
            )
        )
    return found


@pytest.mark.integration
def test_photo_interpretation_generalises_and_confuses(views):
    seen, true = [], []
    for view in views:
        scene = view.scene.inside(*(view.margin,) * 4)
        seen.append(labels.photo_interpreted(view)[0])
        true.append(labels.land_cover(scene)[0])
        assert seen[-1].shape == true[-1].shape == (512, 512)
        assert set(np.unique(seen[-1])) <= set(COSIA.ids)
    drawn, truth = np.stack(seen), np.stack(true)
    agreement = float((drawn == truth).mean())
    assert 0.8 < agreement < 0.98

    def small_objects(maps: np.ndarray) -> int:
        """Pixels in patches of less than 8 square metres."""
        return sum(int((sieve(each, 200, connectivity=4) != each).sum()) for each in maps)

    assert small_objects(drawn) < 0.7 * small_objects(truth)
    index = COSIA.names.index
    tracks = truth == index("pervious surface")
    assert 0.05 < float((drawn[tracks] == index("impervious surface")).mean()) < 0.4
    roofs = truth == index("building")
    assert float((drawn[roofs] == index("building")).mean()) > 0.85


@pytest.mark.integration
def test_declarations_are_shifted_partly_wrong_and_disagree_with_the_cover(views):
    background = LPIS_3.names.index("background")
    counts = {"moved": 0, "wrong": 0, "trees": 0, "undeclared": 0, "field": 0}
    for view in views:
        scene = view.scene.inside(*(view.margin,) * 4)
        levels, truth = labels.declared(view), labels.crops(scene)[2]
        assert np.array_equal(np.array(LEVEL_3_PARENTS)[levels[2]], levels[1])
        assert np.array_equal(np.array(LEVEL_2_PARENTS)[levels[1]], levels[0])
        said, crop = levels[2], truth != background
        counts["field"] += int(crop.sum())
        counts["undeclared"] += int((crop & (said == background)).sum())
        counts["wrong"] += int((crop & (said != background) & (said != truth)).sum())
        trees = np.isin(scene.surface, (Surface.DECIDUOUS, Surface.MARGIN, Surface.BRUSH))
        counts["trees"] += int((trees & (said != background)).sum())
    assert counts["trees"] > 1_000, "hedges and margins belong to declared parcels"
    # Borders drawn inside, and the parcels that nobody declares (their share: `named_crops`).
    assert 0.004 < counts["undeclared"] / counts["field"] < 0.3
    assert 0.001 < counts["wrong"] / counts["field"] < 0.15


@pytest.mark.unit
def test_the_true_maps_stay_available(views):
    view = views[0]
    scene = view.scene.inside(*(view.margin,) * 4)
    made = render_present(view.land, view.window)
    true = render_present(view.land, view.window, truth=True)
    assert np.array_equal(true["AERIAL_LABEL-COSIA"], labels.land_cover(scene))
    assert np.array_equal(true["ALL_LABEL-LPIS"], labels.crops(scene))
    assert np.array_equal(true["AERIAL_RGBI"], made["AERIAL_RGBI"])
    assert not np.array_equal(true["AERIAL_LABEL-COSIA"], made["AERIAL_LABEL-COSIA"])


@pytest.mark.unit
@pytest.mark.parametrize(
    ("true", "seen", "crop", "least", "most"),
    [
        ("herbaceous vegetation", "agricultural land", MAIZE, 0.04, 0.08),
        ("agricultural land", "herbaceous vegetation", MAIZE, 0.025, 0.06),
        ("agricultural land", "herbaceous vegetation", GRASS, 0.35, 0.50),
        ("agricultural land", "plowed land", MAIZE, 0.025, 0.06),
        ("plowed land", "agricultural land", MAIZE, 0.07, 0.13),
        ("plowed land", "bare soil", MAIZE, 0.03, 0.08),
        ("bare soil", "pervious surface", MAIZE, 0.05, 0.11),
        ("brushwood", "herbaceous vegetation", MAIZE, 0.05, 0.11),
        ("brushwood", "deciduous", MAIZE, 0.05, 0.11),
        ("coniferous", "deciduous", MAIZE, 0.015, 0.06),
        ("deciduous", "coniferous", MAIZE, 0.01, 0.06),
        ("pervious surface", "impervious surface", MAIZE, 0.08, 0.20),
        ("impervious surface", "pervious surface", MAIZE, 0.03, 0.15),
        ("pervious surface", "herbaceous vegetation", MAIZE, 0.03, 0.15),
    ],
)
def test_operators_take_one_cover_for_another(true, seen, crop, least, most):
    """Of 8,000 parcels of one cover, each a pixel of 20 m."""
    window = Window(0, 0, 2_000, 100, 80)
    owner = staged.owners(8_000, crop=np.full(8_000, crop, np.uint8))
    parcel = np.arange(8_000).reshape(window.shape)
    view = staged.unlit(LAND, staged.scene(window, Surface.FIELD, parcel, owner))
    index = COSIA.names.index
    cover = np.full(window.shape, index(true), np.uint8)
    share = float((labels._mistaken(view, cover) == index(seen)).mean())
    assert least < share < most
    for sure in ("building", "water", "vineyard", "snow"):
        cover[:] = index(sure)
        assert (labels._mistaken(view, cover) == cover).all()


@pytest.mark.unit
def test_some_crops_are_named_wrongly_and_some_not_at_all():
    rare = LPIS_3.names.index("buckwheat")
    for crop, wrong in ((WHEAT, True), (MAIZE, True), (rare, False)):
        owner = staged.owners(20_000, crop=np.full(20_000, crop, np.uint8))
        named = labels.named_crops(owner, DOMAIN)
        silent = named == BACKGROUND
        assert 0.04 < silent.mean() < 0.06
        mistaken = ~silent & (named != crop)
        assert (0.02 < mistaken.mean() < 0.06) if wrong else not mistaken.any()
        assert set(np.unique(named[~silent])) <= {*DOMAIN.crop_table(permanent=False)[0], crop}
    wild = staged.owners(20_000, kind=np.full(20_000, Kind.WILD, np.uint8))
    grazed = labels.named_crops(wild, DOMAIN) == LPIS_3.names.index("grasses, mixture")
    assert 0.08 < grazed.mean() < 0.12


def fences(count: int, width_px: int, height_px: int) -> View:
    """Strips of wheat and maize in turn, side by side, each a parcel."""
    margin = labels.LABEL_MARGIN_PX
    window = Window(0, 0, 20, count * width_px + 2 * margin, height_px)
    strip = np.clip((np.arange(window.width) - margin) // width_px, 0, count - 1)
    crop = np.where(np.arange(count) % 2, MAIZE, WHEAT).astype(np.uint8)
    return staged.unlit(
        LAND, staged.scene(window, Surface.FIELD, strip, staged.owners(count, crop=crop)), margin
    )


@pytest.mark.unit
def test_parcels_are_drawn_up_to_two_metres_and_a_half_beside_their_borders(monkeypatch):
    for each in ("_DRAWN_INSIDE", "_WRONG", "_UNDECLARED"):
        monkeypatch.setattr(labels, each, 0.0)
    view = fences(8, 160, 2_400)
    said = labels.declared(view)[2]
    assert set(np.unique(said)) == {WHEAT, MAIZE}
    border = np.arange(1, 8) * 160
    move = []
    for row in said:
        found = np.flatnonzero(np.diff(row.astype(int))) + 1
        assert len(found) == 7
        move.append(0.2 * (found - border))
    metres = np.abs(np.array(move))
    assert 0.4 < metres.mean() < 1.6
    assert 1.4 < metres.max() <= 2.4
    # Whole stretches move together: nobody draws a jagged line.
    assert np.abs(np.diff(move, axis=0)).max() < 0.45


@pytest.mark.unit
@pytest.mark.parametrize(("inside", "strips"), [(0.0, 0.0), (None, 0.5), (1.0, 1.0)])
def test_half_of_the_borders_are_drawn_inside(monkeypatch, inside, strips):
    for each in ("_WRONG", "_UNDECLARED"):
        monkeypatch.setattr(labels, each, 0.0)
    if inside is not None:
        monkeypatch.setattr(labels, "_DRAWN_INSIDE", inside)
    silent = labels.declared(fences(120, 40, 200))[2] == BACKGROUND
    # A strip of 1.2 m on either side of each of 119 borders.
    assert silent.mean() == pytest.approx(strips * 2 * 6 * 119 / (120 * 40), abs=0.04)


@pytest.mark.unit
def test_an_operators_hand_strays():
    """Along a straight border of 480 m between what nobody mistakes."""
    margin = labels.LABEL_MARGIN_PX
    window = Window(0, 0, 20, 128, 2_400)
    surface = np.where(np.arange(128) < 64, Surface.TILE_ROOF, Surface.WATER)
    drawn = labels.photo_interpreted(staged.unlit(LAND, staged.scene(window, surface), margin))[0]
    away = 0.2 * ((drawn == COSIA.names.index("building")).sum(axis=1) - (64 - margin))
    assert 0.1 < np.abs(away).mean() < 0.4, "metres"
    assert np.abs(away).max() <= 0.7


@pytest.mark.unit
def test_small_things_are_left_out_more_where_the_operator_hurries():
    """Ponds of 0.8 m are drawn nowhere, ponds of 2.2 m in three quarters of the land."""
    margin, pitch = labels.LABEL_MARGIN_PX, 40
    window = Window(0, 0, 20, 50 * pitch, 50 * pitch)
    kept = []
    for side in (4, 11):
        pond = np.arange(window.width) % pitch < side
        surface = np.where(pond[:, None] & pond[None, :], Surface.WATER, Surface.SNOW)
        view = staged.unlit(LAND, staged.scene(window, surface), margin)
        water = labels.photo_interpreted(view)[0] == COSIA.names.index("water")
        # Windows that hold one pond each, wherever a hand has moved it.
        cells = water[: 47 * pitch, : 47 * pitch].reshape(47, pitch, 47, pitch)
        kept.append(float(cells.any(axis=(1, 3)).mean()))
    assert kept[0] == 0
    assert 0.6 < kept[1] < 0.9
