"""STAC items as imagery: which of their assets hold a sensor's bands, and of which day.

The documents are read as plain JSON, of any version from 0.9: `eo:bands` of STAC 1.0 and `bands` of
1.1 alike.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
from numpy.typing import NDArray

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.imagery.headers import Expected, MissingTiles, RasterFile
from bocage.imagery.locate import address, is_remote
from bocage.imagery.mosaic import Mosaic, Stack, join_tiles, read_headers, stack_items
from bocage.imagery.scale import BASELINE_04_OFFSET, Scale, converts, physical
from bocage.modalities import CLOUDY_SERIES

_TIMEOUT_S, _ATTEMPTS = 30.0, 3
_MOST_BYTES, _MOST_PAGES = 256 * 2**20, 1000
_NO_IMAGERY = frozenset({"thumbnail", "overview", "metadata", "tilejson"})
_CATALOGUES = ("earthsearch", "sentinel")
_ALIASES = {
    "b02": ("blue",), "b03": ("green",), "b04": ("red",), "b05": ("rededge1", "rededge071"),
    "b06": ("rededge2", "rededge075"), "b07": ("rededge3", "rededge078"), "b08": ("nir",),
    "b8a": ("nir08", "rededge4"), "b11": ("swir16",), "b12": ("swir22",),
    "nir": ("b08", "nir08", "pir"), "panchromatic": ("pan",),
    "snow": ("snowprobability", "snw"), "cloud": ("cloudprobability", "cld"),
    "height": ("ndsm", "chm"),
}  # fmt: skip
"""Other names of a sensor's bands: common names of the eo extension, keys of public catalogues."""


@dataclass(frozen=True)
class Item:
    """One item: its name, its day, its assets and properties as the document has them."""

    name: str
    day: str
    assets: dict[str, dict[str, Any]]
    base: str
    properties: dict[str, Any]


@dataclass(frozen=True)
class _Pick:
    """One file of an item and the bands of it that are wanted, by position and by name.

    `scales` are what the document says of their numbers, None where it says nothing.
    """

    href: str
    chosen: tuple[int, ...] | None
    names: tuple[str, ...]
    scales: tuple[Scale, ...] | None


def read_catalogue(
    path: str, asset: str, expected: Expected, series: bool, missing: MissingTiles
) -> tuple[Mosaic | Stack, NDArray[np.datetime64], tuple[str, ...]]:
    """The items of a document as one raster, oldest first.

    Args:
        path: File or address of an item or of a collection of items.
        asset: Key or role of the asset that holds all bands; empty: found by the bands' names.
        expected: The product; its `dates` are of no account.
        series: Whether items of different days are different dates; else all are one image.
        missing: What an asset that cannot be read is.

    Returns:
        The raster, its days (T,) datetime64[D], and what had to be left out or is doubtful.

    Raises:
        DataError: no document, no items, an item without the bands, files that are not the product.
        ConfigError: an asset that the items do not have.
    """
    items = _items(path)
    picks = [_pick(item, asset, expected, path) for item in items]
    jobs = [
        (
            pick.href,
            Expected(
                expected.product,
                pick.names,
                pick.chosen,
                scales=pick.scales if expected.scales is None else expected.scales,
            ),
        )
        for parts in picks
        for pick in parts
    ]
    headers, notes = read_headers(jobs, missing)
    position, found = iter(headers), []
    for item, parts in zip(items, picks, strict=True):
        files = [next(position) for _ in parts]
        whole = tuple(file for file in files if file is not None)
        if len(whole) == len(files):
            found.append((item, whole))
    if not found:
        raise DataError(f"{path}: no item has all of its files ({notes[0]}).")
    days = sorted({item.day for item, _ in found}) if series else [""]
    if series and not days[0]:
        nameless = next(item.name for item, _ in found if not item.day)
        raise DataError(f"{path}: item '{nameless}' has no datetime; a series needs its dates.")
    by_day: list[list[tuple[RasterFile, ...]]] = [
        [files for item, files in found if not series or item.day == day] for day in days
    ]
    dates = np.array(days if series else [], dtype="datetime64[D]")
    return _joined(path, by_day), dates, notes


def _joined(path: str, by_day: Sequence[Sequence[tuple[RasterFile, ...]]]) -> Mosaic | Stack:
    """Items of one file each on one grid are tiles; all else is laid over each other."""
    if len(by_day) == 1 and all(len(files) == 1 for files in by_day[0]):
        try:
            return join_tiles(path, [files[0] for files in by_day[0]])
        except DataError:
            # In several zones, or at several resolutions: each is resampled on its own.
            return stack_items(path, by_day)
    return stack_items(path, by_day)


def _items(path: str) -> list[Item]:
    """Items of the document and of the pages that follow, by name."""
    found: list[Item] = []
    pages, page = iter(range(_MOST_PAGES)), path
    while page and next(pages, None) is not None:
        document = _load(page)
        features = document.get("features", [document])
        for feature in features if isinstance(features, list) else []:
            item = _item(feature, page)
            if item is not None:
                found.append(item)
        page = _next_page(document, page)
    if not found:
        raise DataError(
            f"{path}: no STAC item with assets in this document. Give an item, or a collection of "
            "items, as JSON."
        )
    return sorted(found, key=lambda item: (item.day, item.name))


def _item(feature: Any, page: str) -> Item | None:
    """The item, None for what is none."""
    assets = feature.get("assets") if isinstance(feature, dict) else None
    if not isinstance(assets, dict) or not assets:
        return None
    properties = feature.get("properties") or {}
    moment = properties.get("datetime") or properties.get("start_datetime") or ""
    day = str(moment)[:10]
    if day and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day):
        raise DataError(f"{page}: item '{feature.get('id')}' has the datetime '{moment}'.")
    return Item(str(feature.get("id", "")), day, assets, page, properties)


def _next_page(document: dict[str, Any], page: str) -> str:
    """Address of the page that follows, empty where there is none."""
    for link in document.get("links") or []:
        if link.get("rel") == "next" and link.get("method", "GET") == "GET":
            return urljoin(page, str(link.get("href", "")))
    return ""


def _load(path: str) -> dict[str, Any]:
    on_web = path.startswith(("http://", "https://"))
    if is_remote(path) and not on_web:
        raise DataError(
            f"{path}: STAC documents are read from disk or over HTTP. Fetch it; what it names may "
            "lie in storage."
        )
    try:
        text = _fetch(path) if on_web else _read(path)
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a STAC document ({error}).") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: not a STAC item or a collection of items.")
    return document


def _read(path: str) -> bytes:
    local = Path(path)
    if local.stat().st_size > _MOST_BYTES:
        raise ValueError("too large for a list of items")
    return local.read_bytes()


def _fetch(url: str) -> bytes:
    for attempt in range(_ATTEMPTS):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
                return bytes(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _ATTEMPTS - 1:
                raise
        except OSError:
            if attempt == _ATTEMPTS - 1:
                raise
        time.sleep(0.5 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _pick(item: Item, wanted: str, expected: Expected, path: str) -> list[_Pick]:
    """The files that hold the product's bands, in the bands' order."""
    if wanted:
        keys = [k for k, a in item.assets.items() if k == wanted or wanted in a.get("roles", [])]
        if len(keys) != 1:
            raise ConfigError(
                f"{path}: item '{item.name}': {unknown_name('asset', wanted, item.assets)}"
                if not keys
                else f"{path}: item '{item.name}' has several assets of role '{wanted}': "
                f"{', '.join(keys)}. Name one."
            )
        asset = item.assets[keys[0]]
        here = _places(keys[0], asset)
        known = [find_band(name, here) for name in expected.bands]
        bands = tuple(b for b in known if b is not None)
        chosen = expected.chosen or (bands if len(bands) == len(known) else None)
        return [_take(item, asset, chosen, expected.bands, expected)]
    places = {
        key: _places(key, asset)
        for key, asset in item.assets.items()
        if not _NO_IMAGERY & set(asset.get("roles", []))
    }
    # One asset that holds all bands comes before several that hold one each.
    for key, here in places.items():
        bands = tuple(b for n in expected.bands if (b := find_band(n, here)) is not None)
        if len(bands) == len(expected.bands):
            return [_take(item, item.assets[key], bands, expected.bands, expected)]
    picks = []
    for name in expected.bands:
        found = [(k, b) for k, here in places.items() if (b := find_band(name, here)) is not None]
        if not found:
            raise DataError(
                f"{path}: item '{item.name}' has no asset with band '{name}', only "
                f"{', '.join(item.assets)}. Name the one that holds "
                f"{', '.join(expected.bands)} as {path}#ASSET."
            )
        # A single-band file is the band itself; a composite only shows it.
        key, band = min(found, key=lambda pair: len(places[pair[0]]))
        picks.append(_take(item, item.assets[key], (band,), (name,), expected))
    return picks


def _places(key: str, asset: dict[str, Any]) -> list[set[str]]:
    """Per band of an asset all names that it goes by; the key names an asset of one band."""
    stated = asset.get("eo:bands") or asset.get("bands") or []
    names = [
        {_plain(str(band[k])) for k in ("name", "common_name", "eo:common_name") if band.get(k)}
        for band in stated
        if isinstance(band, dict)
    ]
    if len(names) <= 1:
        return [{_plain(key)}.union(*names)]
    return names


def find_band(name: str, here: Sequence[set[str]]) -> int | None:
    """Which band, from 1, goes by the name or else by one of its other names."""
    plain = _plain(name)
    for called in (plain, *_ALIASES.get(plain, ())):
        for band, names in enumerate(here, start=1):
            if called in names:
                return band
    return None


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _href(item: Item, asset: dict[str, Any]) -> str:
    href = str(asset.get("href", ""))
    if item.base.startswith(("http://", "https://")):
        href = urljoin(item.base, href)
    elif "://" not in href and not href.startswith("/"):
        href = str(Path(item.base).parent / href)
    return address(href)


def _take(
    item: Item,
    asset: dict[str, Any],
    chosen: tuple[int, ...] | None,
    names: tuple[str, ...],
    expected: Expected,
) -> _Pick:
    """The asset's bands, with what the item says of their numbers."""
    product, scales = expected.product, None
    if product is not None and converts(product):
        series = product.name in CLOUDY_SERIES
        stated = [_stated(asset, band) for band in chosen or range(1, len(names) + 1)]
        applied = any(item.properties.get(f"{who}:boa_offset_applied") for who in _CATALOGUES)
        if series and applied:
            # What the bands then still declare, their files have no more.
            stated = [(factor, 0.0) for factor, _ in stated]
        elif series and _is_baseline_04(item) and all(offset is None for _, offset in stated):
            stated = [(None, BASELINE_04_OFFSET)] * len(stated)
        if any(value is not None for pair in stated for value in pair):
            scales = tuple(physical(1.0 if f is None else f, o or 0.0, product) for f, o in stated)
    return _Pick(_href(item, asset), chosen, names, scales)


def _stated(asset: dict[str, Any], band: int) -> tuple[float | None, float | None]:
    """Scale and offset of a band as the raster extension has them, in STAC 1.0 and 1.1."""
    bands = asset.get("raster:bands") or asset.get("bands") or []
    own = bands[band - 1] if len(bands) >= band and isinstance(bands[band - 1], dict) else {}
    found = []
    for key in ("scale", "offset"):
        places = (own.get(f"raster:{key}"), own.get(key), asset.get(f"raster:{key}"))
        values = [float(v) for v in places if isinstance(v, int | float)]
        found.append(values[0] if values else None)
    return found[0], found[1]


def _is_baseline_04(item: Item) -> bool:
    """Whether the item says that it was made by processing baseline 04.00 or a later one."""
    keys = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
    stated = (str(item.properties.get(key, "")) for key in keys)
    found = (re.fullmatch(r"N?(\d\d)\.?\d\d", text) for text in stated)
    return any(int(match[1]) >= 4 for match in found if match)
