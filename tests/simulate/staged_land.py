"""Places set up by hand: a known scene, seen by the real light and the real sensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bocage.simulate.cover import Cover
from bocage.simulate.domains import Use
from bocage.simulate.hashing import hash_at, make_key
from bocage.simulate.landscape import Landscape, Scene
from bocage.simulate.landuse import BACKGROUND, Kind, Owners
from bocage.simulate.light import View, colours, reflectance, shadow_margin
from bocage.simulate.noise import Window
from bocage.simulate.phenology import CALENDARS, growth


def owners(count: int, **tables: Any) -> Owners:
    """`count` owners of arable parcels, alike but for their numbers; `tables` replace columns."""
    columns: dict[str, Any] = {
        "use": np.zeros(count, np.uint8),
        "kind": np.full(count, Kind.FIELD, np.uint8),
        "crop": np.full(count, BACKGROUND, np.uint8),
        "hash": hash_at(make_key("staged"), np.arange(count)),
        "direction": np.zeros(count, np.int32),
        "soil": np.full(count, 0.5, np.float32),
        "late": np.zeros(count, np.int64),
    }
    return Owners(**(columns | tables))


def scene(
    window: Window, surface: Any, parcel: Any = 0, owner: Owners | None = None, **on: Any
) -> Scene:
    """A flat scene of `surface`; `height` and `ground` in metres, all broadcast to (H, W)."""
    fields = {
        name: np.broadcast_to(np.asarray(on.get(name, 0.0), np.float32), window.shape)
        for name in ("ground", "height", "tone")
    }
    return Scene(
        window=window,
        surface=np.broadcast_to(np.asarray(surface, np.uint8), window.shape),
        crown=np.zeros(window.shape, np.uint8),
        parcel=np.broadcast_to(np.asarray(parcel, np.int32), window.shape),
        owner=owners(1) if owner is None else owner,
        **fields,
    )


def unlit(land: Landscape, there: Scene, margin: int = 0) -> View:
    """A view of the scene with nothing but what labels need; its outer `margin` is neighbourhood.

    Its light is one half everywhere.
    """
    inner = there.window.padded(-margin, -margin, -margin, -margin)
    light = np.full((4, *there.window.shape), 0.5, dtype=np.float32)
    return View(land, inner, margin, there, light, np.zeros((0, 4), dtype=np.float32))


def varied_corner(land: Landscape) -> tuple[int, int]:
    """Of 16 places of a domain the corner (cm) of the one with most kinds of land."""
    corners = [(k * 409_600, 2 * k * 409_600) for k in range(16)]
    kinds = [len(np.unique(land.uses_at(Window(u, v, 1_024, 10, 10)))) for u, v in corners]
    return corners[int(np.argmax(kinds))]


def corners_of(land: Landscape, use: Use, places: int) -> Iterator[tuple[int, int]]:
    """Where (cm) a use begins in each of the first `places` that show any of it."""
    for u in range(0, places * 307_200, 307_200):
        here = land.uses_at(Window(u, 512_000, 1_024, 40, 40)) == use
        if here.any():
            row, col = np.unravel_index(here.argmax(), here.shape)
            yield u + int(col) * 1_024, 512_000 + int(row) * 1_024


def stage(land: Landscape, window: Window, margin: int) -> Window:
    """The ground that a scene must show for `lit` to see the window with its margin."""
    around = window.padded(margin, margin, margin, margin)
    return around.padded(*shadow_margin(around, land))


def lit(land: Landscape, window: Window, margin: int, there: Scene) -> View:
    """The window in its domain's sun; `there` is of its `stage`."""
    around = window.padded(margin, margin, margin, margin)
    table = colours(land, there.owner, land.domain.flight_day(land.past))
    light = reflectance(land, around, there, table)
    inner = there.inside(*shadow_margin(around, land))
    return View(land, window, margin, inner, light, table)


def cover_of(name: str, count: int = 1, **columns: Any) -> Cover:
    """`count` kinds of cover with the calendar `name`, one pixel each."""
    numbers = np.repeat(hash_at(make_key("staged"), 0), count)
    kinds: dict[str, Any] = {
        "counts": np.eye(count) * 64,
        "calendar": np.full(count, CALENDARS.index(name), np.intp),
        "grown": growth(numbers, 0),
        "direction": np.full(count, -1, np.int32),
        "hash": numbers,
    }
    return Cover(**(kinds | columns))
