"""Class shares of the simulated benchmark against FLAIR #1's and France's.

Usage: python -m tools.simulation_shares [--size small|standard]

Prints the Markdown tables of `docs/simulation.md`: what the labels of the benchmark's patches say.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bocage.nomenclatures import COSIA, LEVEL_2_PARENTS, LEVEL_3_PARENTS, LPIS_1, LPIS_3
from bocage.simulate.benchmark import BENCHMARKS
from bocage.simulate.labels import LABEL_MARGIN_PX, declared, photo_interpreted
from bocage.simulate.landscape import Landscape
from bocage.simulate.light import View
from bocage.simulate.patches import Patch, draw_up
from bocage.simulate.sites import FLAIR1_SHARES

# Thousand hectares in metropolitan France by published statistics; crops without a figure found are
# left out, and their target stays open. Sources by letter, see `SOURCES`.
NATIONAL: dict[str, tuple[float, str]] = {
    "winter wheat": (4_900, "a"),
    "winter durum wheat": (284, "a"),
    "winter barley": (1_200, "b"),
    "spring barley": (593, "a"),
    "maize": (2_864, "ac"),
    "sunflower": (666, "a"),
    "rapeseed": (1_000, "b"),
    "soy": (172, "a"),
    "sorghum": (94, "a"),
    "spring peas": (175, "d"),
    "potatoes": (149, "d"),
    "beetroots": (455, "d"),
    "winter triticale": (356, "e"),
    "winter rye": (28, "f"),
    "winter oat": (53, "f"),
    "fibre flax": (110, "g"),
    "rice": (11.8, "h"),
    "alfalfa": (372, "i"),
    "grasses, monoculture": (3_743, "i"),
    "grasses, mixture": (8_109, "j"),
    "vineyard": (767, "k"),
    "fruit orchards": (101, "l"),
    "nut orchards": (21, "l"),
    "lavandin": (22, "m"),
    "aromatic and medicinal plants": (36, "m"),
    "fruits and vegetables": (228, "n"),
}
_SEEN_PX = 2_500
"""From this many pixels of 0.2 m, a hundred square metres, a patch shows a crop."""
SOURCES = {
    "a": "Agreste, Grandes cultures, May 2021 (soft wheat 4.9 Mha; durum and spring barley, grain"
    " maize 1.5 Mha, sunflower, soy and sorghum of 2021)",
    "b": "Agreste, Grandes cultures, winter sowings of 2021 (1.2 and 1.0 Mha)",
    "c": "fodder maize: Agreste, July 2020 (1.47 Mha) less 7.2 % (May 2021)",
    "d": "Agreste, May 2019",
    "e": "Agreste, winter sowings of 2016",
    "f": "Agreste, winter sowings of 2012",
    "g": "CELC 2021, with Belgium and the Netherlands",
    "h": "European rice federation, 2021",
    "i": "Agreste, Les Dossiers 8, July 2010: artificial and temporary meadows, campaign 2006",
    "j": "permanent pasture as declared for the CAP, 2007",
    "k": "Agreste, agricultural census 2020",
    "l": "Agreste, inventory of orchards 2013 (122,027 ha, of which walnuts 20,676)",
    "m": "FranceAgriMer and CIHEF: lavandin 2023; other scented and medicinal plants 2021",
    "n": "Agreste, agricultural census 2010: fruit and fresh vegetables less orchards",
}


def main(size: str) -> None:
    """Draw the labels of every patch of the benchmark, count, and print the tables."""
    cover = np.zeros((3, len(COSIA)))
    crops = np.zeros((3, len(LPIS_3)))
    taught = np.zeros(len(LPIS_3), dtype=np.int64)
    asked, answered = np.zeros((2, len(LPIS_1)), dtype=np.int64)
    kinds: dict[str, NDArray[np.float64]] = {}
    for patch in _patches(size):
        split = ("train", "valid", "test").index(patch.splits[0])
        land = Landscape(patch.domain, patch.granule.seed)
        view = View.unlit(land, patch.window, LABEL_MARGIN_PX)
        drawn, named = photo_interpreted(view), declared(view)
        cover[split] += np.bincount(drawn.reshape(-1), minlength=len(COSIA))
        counted = np.bincount(named[2].reshape(-1), minlength=len(LPIS_3)).astype(np.float64)
        seen = np.bincount(named[0].reshape(-1), minlength=len(LPIS_1)) >= _SEEN_PX
        taught += (counted >= _SEEN_PX) & (split == 0)
        answered += seen & (split == 0)
        asked += seen & (split == 2)
        crops[split] += counted
        kinds.setdefault(patch.domain.key, np.zeros(len(LPIS_3)))
        kinds[patch.domain.key] += counted
    print("| land cover | FLAIR #1 % | train % | valid % | test % |\n|---|---|---|---|---|")
    for k, name in enumerate(COSIA.names):
        obtained = " | ".join(f"{share:.2f}" for share in _percent(cover)[:, k])
        print(f"| {name} | {FLAIR1_SHARES[name]:.2f} | {obtained} |")

    grown = np.sum([counted > 0 for counted in kinds.values()], axis=0)
    print("", *crop_table(crops, taught, grown), sep="\n")
    parents = np.array(LEVEL_2_PARENTS)[np.array(LEVEL_3_PARENTS)]
    first = np.bincount(parents[:-1], crops.sum(axis=0)[:-1], minlength=len(LPIS_1))
    missing = [LPIS_1.names[k] for k in np.flatnonzero(first[:-1] == 0)]
    print(f"\nLevel 1 classes without a pixel: {missing or 'none'}.")
    print("Level 1: patches of the test, and of the training:")
    for k, name in enumerate(LPIS_1.names[:-1]):
        print(f"  {name}: {asked[k]}, {answered[k]}")
    print("Sources:")
    for letter, source in SOURCES.items():
        print(f"({letter}) {source}.")


def crop_table(
    crops: NDArray[np.float64], taught: NDArray[np.int64], grown: NDArray[np.int64]
) -> list[str]:
    """Lines of the table of crops at level 3; every column of shares adds up to 100.

    Args:
        crops: pixels by split and class, (3, C), background last.
        taught: training patches that show a class, (C,).
        grown: domains that do, (C,).
    """
    names = LPIS_3.names[:-1]
    whole = sum(area for area, _ in NATIONAL.values())
    # A split's shares are of all its crops; France's of those of which the area was found.
    shares = _percent(crops[:, :-1])
    lines = [
        "| crop (level 3) | France %, of those with a figure | train % | valid % | test % "
        "| training patches | domains |",
        "|---|---|---|---|---|---|---|",
    ]
    for k, name in enumerate(names):
        area, source = NATIONAL.get(name, (None, ""))
        target = "" if area is None else f"{100 * area / whole:.2f} ({', '.join(source)})"
        lines.append(f"| {name} | {target} | {_cells(shares[:, k])} | {taught[k]} | {grown[k]} |")
    figured = np.isin(names, list(NATIONAL))
    lines.append(f"| all with a figure | 100.00 | {_cells(shares[:, figured].sum(axis=1))} | | |")
    lines.append(f"| all crops | | {_cells(shares.sum(axis=1))} | | |")
    return lines


def _cells(shares: NDArray[np.float64]) -> str:
    return " | ".join(f"{share:.2f}" for share in shares)


def _patches(size: str) -> Iterator[Patch]:
    for plan in BENCHMARKS["v1"].plans(size):
        yield from draw_up(plan)


def _percent(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 100 * counts / counts.sum(axis=1, keepdims=True)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="small", choices=["small", "standard"])
    main(parser.parse_args().size)
