"""The simulated departments: official domain keys, each with its own country and farming.

Keys and years are those of FLAIR-HUB. Anchors are Lambert-93 coordinates inside the department.
Shares of land and crops keep the known traits of each department (beet and potatoes in the Somme,
vines in the Herault); the numbers are chosen, and flattened so that small sets hold many classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bocage.nomenclatures import LPIS_3
from bocage.simulate.hashing import Floats


class Use(IntEnum):
    """What a block between roads is used for."""

    ARABLE = 0
    PERMANENT = 1
    PASTURE = 2
    WOOD = 3
    TOWN = 4
    WORKS = 5
    WILD = 6


@dataclass(frozen=True)
class Domain:
    """One department-year.

    `uses`: shares of the seven `Use`s, in their order. `crops`: arable shares, and `permanent`:
    shares of permanent crops, both by name at level 3. `conifers`: share of coniferous stands.
    `hedges`: share of parcel borders with a hedge. `pools`: share of house plots with a pool.
    `slate`: share of dark roofs. `season_days`: how much later the year is than in mid-France.
    `sun`: towards the sun (east, south) and the tangent of its height when photographed.
    `cast`: camera gains (red, green, blue, nir).
    """

    key: str
    title: str
    anchor_m: tuple[int, int]
    altitude_m: int
    relief_m: int
    uses: tuple[int, ...]
    crops: dict[str, int]
    permanent: dict[str, int]
    aerial_day: str
    spot_day: str
    past_day: str
    held_out: bool = False
    conifers: float = 0.3
    hedges: float = 0.4
    pools: float = 0.12
    slate: float = 0.3
    river_m: float = 4.0
    season_days: int = 0
    snow_line_m: int | None = None
    sun: tuple[float, float, float] = (0.42, 0.907, 1.40)
    cast: tuple[float, float, float, float] = field(default=(1.0, 1.0, 1.0, 1.0))

    @property
    def year(self) -> int:
        """Year of the photograph and of the series."""
        return int(self.key.rpartition("-")[2])

    def crop_table(self, permanent: bool) -> tuple[NDArray[np.uint8], Floats]:
        """Level-3 ids and weights of the arable or of the permanent crops."""
        mix = self.permanent if permanent else self.crops
        ids = [LPIS_3.names.index(name) for name in mix]
        return np.array(ids, dtype=np.uint8), np.array(list(mix.values()), dtype=np.float32)


DOMAINS: tuple[Domain, ...] = (
    Domain(
        "D024047-2021", "Dordogne, Lot-et-Garonne", (505_000, 6_390_000), 110, 90,
        (38, 13, 12, 17, 10, 3, 7),
        {"winter wheat": 18, "maize": 20, "sunflower": 18, "soy": 11, "rapeseed": 8,
         "winter barley": 9, "grasses, monoculture": 10, "alfalfa": 6},
        {"fruit orchards": 35, "nut orchards": 30, "vineyard": 35},
        "20210722", "20210611", "19560604", conifers=0.25, hedges=0.35, pools=0.30, slate=0.1,
        river_m=5.0, season_days=-5, cast=(1.05, 1.0, 0.95, 1.0),
    ),
    Domain(
        "D068-2021", "Haut-Rhin", (1_005_000, 6_745_000), 230, 70,
        (42, 9, 12, 15, 11, 4, 7),
        {"maize": 26, "winter wheat": 20, "soy": 11, "beetroots": 10, "winter barley": 9,
         "rapeseed": 9, "grasses, monoculture": 8, "sunflower": 7},
        {"vineyard": 75, "fruit orchards": 25},
        "20210814", "20210616", "19510711", held_out=True, conifers=0.35, hedges=0.25,
        pools=0.15, slate=0.25, river_m=5.5, season_days=2, sun=(0.26, 0.966, 1.30),
        cast=(0.97, 1.0, 1.06, 0.92),
    ),
    Domain(
        "D051-2019", "Marne", (785_000, 6_870_000), 130, 60,
        (48, 8, 9, 14, 10, 4, 7),
        {"winter wheat": 24, "winter barley": 12, "beetroots": 15, "maize": 11, "rapeseed": 12,
         "sunflower": 6, "soy": 4, "alfalfa": 9, "grasses, monoculture": 7},
        {"vineyard": 85, "fruit orchards": 15},
        "20190703", "20190625", "19490820", conifers=0.3, hedges=0.2, pools=0.08, slate=0.35,
        river_m=4.0, season_days=4, sun=(-0.50, 0.866, 1.35), cast=(0.95, 1.0, 1.05, 1.05),
    ),
    Domain(
        "D085-2019", "Vendee", (365_000, 6_640_000), 70, 45,
        (36, 6, 22, 12, 12, 3, 9),
        {"winter wheat": 24, "maize": 24, "rapeseed": 9, "sunflower": 12, "winter barley": 9,
         "grasses, monoculture": 16, "alfalfa": 6},
        {"vineyard": 60, "fruit orchards": 40},
        "20190718", "20190513", "19580518", held_out=True, hedges=0.65, pools=0.16, slate=0.15,
        season_days=-3, sun=(0.64, 0.768, 1.30),
    ),
    Domain(
        "D074-2020", "Haute-Savoie", (965_000, 6_545_000), 1_500, 1_000,
        (8, 6, 28, 32, 9, 2, 15),
        {"grasses, monoculture": 50, "maize": 25, "winter wheat": 25},
        {"fruit orchards": 100},
        "20200731", "20200822", "19540908", conifers=0.65, hedges=0.2, pools=0.06, slate=0.5,
        season_days=12, snow_line_m=2_050, sun=(-0.34, 0.940, 1.50), cast=(1.0, 0.98, 1.04, 0.95),
    ),
    Domain(
        "D080-2021", "Somme", (640_000, 6_985_000), 90, 50,
        (54, 2, 10, 11, 12, 4, 7),
        {"winter wheat": 26, "beetroots": 15, "potatoes": 14, "rapeseed": 11, "fibre flax": 10,
         "winter barley": 9, "maize": 10, "spring peas": 5},
        {"fruit orchards": 100},
        "20210611", "20210901", "19470706", hedges=0.15, pools=0.04, slate=0.6, season_days=6,
        sun=(0.17, 0.985, 1.45), cast=(0.94, 1.0, 1.08, 1.08),
    ),
    Domain(
        "D012-2019", "Aveyron", (660_000, 6_370_000), 620, 160,
        (24, 5, 30, 20, 8, 2, 11),
        {"winter wheat": 18, "winter triticale": 16, "winter barley": 14, "maize": 14,
         "grasses, monoculture": 22, "alfalfa": 16},
        {"vineyard": 40, "nut orchards": 60},
        "20190629", "20190720", "19530802", held_out=True, conifers=0.4, hedges=0.5, slate=0.55,
        season_days=5, sun=(-0.42, 0.907, 1.50),
    ),
    Domain(
        "D035-2020", "Ille-et-Vilaine", (350_000, 6_790_000), 75, 50,
        (42, 3, 20, 11, 12, 4, 8),
        {"maize": 28, "winter wheat": 24, "grasses, monoculture": 18, "winter barley": 8,
         "rapeseed": 8, "spring peas": 5, "alfalfa": 4, "potatoes": 5},
        {"fruit orchards": 100},
        "20200618", "20200707", "19520614", hedges=0.75, pools=0.07, slate=0.85, season_days=1,
        sun=(0.50, 0.866, 1.40), cast=(0.95, 1.02, 1.0, 1.05),
    ),
    Domain(
        "D034-2021", "Herault", (740_000, 6_265_000), 60, 80,
        (16, 40, 6, 13, 11, 3, 11),
        {"winter durum wheat": 40, "sunflower": 20, "alfalfa": 20, "grasses, monoculture": 20},
        {"vineyard": 72, "olive groves": 16, "fruit orchards": 12},
        "20210602", "20210705", "19551008", conifers=0.5, hedges=0.2, pools=0.35, slate=0.02,
        season_days=-14, sun=(-0.26, 0.966, 1.60), cast=(1.08, 1.0, 0.92, 0.95),
    ),
    Domain(
        "D069-2020", "Rhone", (825_000, 6_535_000), 330, 130,
        (26, 20, 16, 15, 13, 4, 6),
        {"winter wheat": 24, "maize": 26, "winter barley": 12, "sunflower": 12, "soy": 10,
         "grasses, monoculture": 16},
        {"vineyard": 75, "fruit orchards": 25},
        "20200709", "20200619", "19540725", held_out=True, hedges=0.35, pools=0.22, slate=0.1,
        season_days=-1,
    ),
    Domain(
        "D030-2021", "Gard", (790_000, 6_300_000), 40, 60,
        (26, 32, 7, 11, 11, 3, 10),
        {"rice": 30, "winter durum wheat": 26, "sunflower": 16, "alfalfa": 14,
         "grasses, monoculture": 14},
        {"vineyard": 55, "olive groves": 22, "fruit orchards": 23},
        "20210528", "20210716", "19530617", conifers=0.5, hedges=0.2, pools=0.32, slate=0.02,
        season_days=-14, sun=(0.34, 0.940, 1.60), cast=(1.06, 1.0, 0.94, 0.95),
    ),
    Domain(
        "D004-2021", "Alpes-de-Haute-Provence", (925_000, 6_305_000), 780, 210,
        (18, 24, 12, 22, 8, 2, 14),
        {"winter durum wheat": 26, "winter wheat": 18, "spring barley": 18, "alfalfa": 20,
         "grasses, monoculture": 18},
        {"lavandin": 55, "olive groves": 20, "fruit orchards": 25},
        "20210626", "20210802", "19560712", conifers=0.55, hedges=0.15, pools=0.15, slate=0.05,
        season_days=-4, sun=(-0.17, 0.985, 1.60), cast=(1.05, 1.0, 0.97, 0.95),
    ),
)  # fmt: skip
"""All simulated domains; a data set of n domains holds the first n."""

DOMAINS_BY_KEY = {domain.key: domain for domain in DOMAINS}
