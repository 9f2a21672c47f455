"""The simulated departments: official domain keys, each with its own country and farming.

Keys and years are those of FLAIR-HUB; anchors are Lambert-93 coordinates inside the department.
Shares of crops follow each department's known specialities (beet, potatoes and flax in the Somme,
lucerne and spring barley in the Marne, rice in the Camargue, lavandin on the Valensole plateau)
with tails of minor crops, so that every crop of LPIS grows somewhere. Their mean over the domains
keeps the order of the great crops in the national areas that `tools/simulation_shares.py` cites,
no more: of wheat there is less than in France, and what is rare or grown in one region only, such
as rice and orchards, stands several times as often. Shares of land are flattened towards towns, as
FLAIR's zones are. The numbers themselves are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
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
    LAKE = 7
    CENTRE = 8


SHARED_USES = tuple(use for use in Use if use is not Use.CENTRE)
"""The uses whose shares a domain gives; centres are the dense middle of its towns."""


@dataclass(frozen=True)
class Domain:
    """One department-year.

    `uses`: shares of `SHARED_USES`, in their order. `crops`: arable shares, and `permanent`:
    shares of permanent crops, both by name at level 3. `parcel_m`: width and length of a common
    field. `block_m`: mean distance between the middles of the blocks that roads enclose.
    `valley_m`: distance between rivers; `relief_m`: height of the ridges above them; `trough`: how
    far valleys have the flat floor and steep sides that glaciers leave, 0 to 1; `river_m`: half the
    width of a common river. `chalk`: brightness of the bare soil, 0 to 1. `conifers`: share of
    coniferous stands. `hedges`: share of parcel borders with a hedge. `pools`: share of house plots
    with a pool. `slate`: share of dark roofs. `season_days`: how much later the year is in the
    valleys than in mid-France. `sunshine_h` of a year and `summer_rain_mm` of June to August,
    rounded after Meteo-France's normals of 1991 to 2020 for a town of the department.
    `snow_line_m`: altitude above which snow stays over the summer. `sun`: towards the sun (east,
    south) and the tangent of its height when photographed. `cast`: camera gains (red, green, blue,
    nir).
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
    parcel_m: tuple[int, int] = (85, 125)
    block_m: int = 270
    valley_m: int = 3_600
    trough: float = 0.0
    river_m: float = 8.0
    chalk: float = 0.5
    conifers: float = 0.3
    hedges: float = 0.4
    pools: float = 0.12
    slate: float = 0.3
    season_days: int = 0
    sunshine_h: int = 1_900
    summer_rain_mm: int = 190
    snow_line_m: int | None = None
    sun: tuple[float, float, float] = (0.42, 0.907, 1.40)
    cast: tuple[float, float, float, float] = field(default=(1.0, 1.0, 1.0, 1.0))

    @property
    def year(self) -> int:
        """Year of the photograph and of the series."""
        return int(self.key.rpartition("-")[2])

    def flight_day(self, past: bool) -> int:
        """Day of the year of the aerial photograph, today's or the historical one."""
        return day_of_year(self.past_day if past else self.aerial_day)

    def crop_table(self, permanent: bool) -> tuple[NDArray[np.uint8], Floats]:
        """Level-3 ids and weights of the arable or of the permanent crops."""
        mix = self.permanent if permanent else self.crops
        ids = [LPIS_3.names.index(name) for name in mix]
        return np.array(ids, dtype=np.uint8), np.array(list(mix.values()), dtype=np.float32)


def day_of_year(yyyymmdd: str) -> int:
    """0 for 1 January."""
    return date(int(yyyymmdd[:4]), int(yyyymmdd[4:6]), int(yyyymmdd[6:])).timetuple().tm_yday - 1


DOMAINS: tuple[Domain, ...] = (
    Domain(
        "D024047-2021", "Dordogne, Lot-et-Garonne", (505_000, 6_390_000), 70, 110,
        (34, 9, 14, 22, 11, 3, 6, 2),
        {"maize": 200, "winter wheat": 190, "sunflower": 150, "grasses, monoculture": 120,
         "winter barley": 60, "soy": 55, "rapeseed": 45, "alfalfa": 40, "winter triticale": 30,
         "fruits and vegetables": 25, "sorghum": 20, "winter durum wheat": 15, "mixed crops": 12,
         "other arable crops": 12, "spring barley": 12, "winter oat": 10, "hemp, tobacco": 8,
         "spring peas": 8, "buckwheat": 6, "clover": 6, "winter protein crops": 6,
         "other fodder legumes": 5, "other protein crops": 5, "millet, foxtail": 3,
         "aromatic and medicinal plants": 3},
        {"vineyard": 590, "fruit orchards": 220, "nut orchards": 150, "berries": 30,
         "other permanent crops": 10},
        "20210722", "20210611", "19560604", conifers=0.25, hedges=0.35, pools=0.30, slate=0.1,
        parcel_m=(80, 120), season_days=-5, cast=(1.05, 1.0, 0.95, 1.0),
        sunshine_h=2_000, summer_rain_mm=170,
    ),
    Domain(
        "D068-2021", "Haut-Rhin", (1_005_000, 6_745_000), 200, 90,
        (36, 7, 10, 20, 15, 5, 5, 2),
        {"maize": 360, "winter wheat": 200, "beetroots": 60, "winter barley": 60, "soy": 55,
         "grasses, monoculture": 55, "rapeseed": 50, "alfalfa": 20, "sunflower": 20,
         "fruits and vegetables": 14, "potatoes": 14, "other arable crops": 10,
         "winter triticale": 8, "spring barley": 8, "spring oat": 6, "other cereals": 6,
         "hemp, tobacco": 4, "clover": 4, "winter rye": 4, "aromatic and medicinal plants": 3},
        {"vineyard": 800, "fruit orchards": 160, "berries": 20, "other permanent crops": 20},
        "20210814", "20210616", "19510711", held_out=True, conifers=0.35, hedges=0.2, pools=0.15,
        parcel_m=(65, 145), slate=0.25, season_days=2, river_m=9.0, sun=(0.26, 0.966, 1.30),
        cast=(0.97, 1.0, 1.06, 0.92),
        sunshine_h=1_800, summer_rain_mm=210,
    ),
    Domain(
        "D051-2019", "Marne", (785_000, 6_870_000), 95, 75,
        (52, 6, 6, 16, 10, 4, 4, 2),
        {"winter wheat": 290, "spring barley": 130, "beetroots": 130, "alfalfa": 90,
         "rapeseed": 90, "winter barley": 60, "maize": 50, "potatoes": 30, "sunflower": 25,
         "spring peas": 20, "grasses, monoculture": 20, "other arable crops": 12,
         "hemp, tobacco": 10, "mustard": 6, "other oilseed crops": 6, "fruits and vegetables": 6,
         "winter protein crops": 6, "winter triticale": 5, "fibre flax": 4, "other flax": 8,
         "aromatic and medicinal plants": 4, "soy": 4, "winter rye": 3},
        {"vineyard": 970, "fruit orchards": 20, "berries": 10},
        "20190703", "20190625", "19490820", parcel_m=(140, 220), block_m=420, chalk=0.9,
        conifers=0.3, hedges=0.1, pools=0.08, slate=0.35, season_days=4,
        sun=(-0.50, 0.866, 1.35), cast=(0.95, 1.0, 1.05, 1.05),
        sunshine_h=1_750, summer_rain_mm=180,
    ),
    Domain(
        "D085-2019", "Vendee", (365_000, 6_640_000), 30, 55,
        (38, 4, 24, 7, 14, 4, 5, 4),
        {"winter wheat": 240, "maize": 230, "grasses, monoculture": 190,
         "winter durum wheat": 50, "sunflower": 45, "rapeseed": 40, "winter barley": 40,
         "winter triticale": 30, "alfalfa": 20, "mixed crops": 15, "winter protein crops": 12,
         "fruits and vegetables": 10, "millet, foxtail": 8, "other protein crops": 8,
         "clover": 8, "other arable crops": 8, "spring peas": 6, "other fodder legumes": 6,
         "sorghum": 6, "winter oat": 6, "spring wheat": 4, "buckwheat": 3},
        {"vineyard": 700, "fruit orchards": 240, "other permanent crops": 40, "nut orchards": 20},
        "20190718", "20190513", "19580518", held_out=True, hedges=0.65, pools=0.16, slate=0.15,
        season_days=-3, chalk=0.4, sun=(0.64, 0.768, 1.30),
        sunshine_h=1_950, summer_rain_mm=130,
    ),
    Domain(
        "D074-2020", "Haute-Savoie", (965_000, 6_545_000), 600, 2_300,
        (7, 1, 27, 34, 12, 3, 14, 2),
        {"grasses, monoculture": 420, "maize": 170, "winter wheat": 140, "winter barley": 60,
         "winter triticale": 40, "alfalfa": 30, "rapeseed": 20, "mixed crops": 20, "clover": 20,
         "other fodder legumes": 15, "spring barley": 15, "fruits and vegetables": 12, "soy": 10,
         "sunflower": 10, "spring oat": 8, "potatoes": 5, "winter rye": 5},
        {"fruit orchards": 850, "vineyard": 90, "berries": 60},
        "20200731", "20200822", "19540908", parcel_m=(70, 110), valley_m=14_000, trough=1.0,
        conifers=0.65, hedges=0.2, pools=0.06, slate=0.5, season_days=12, snow_line_m=2_350,
        sun=(-0.34, 0.940, 1.50), cast=(1.0, 0.98, 1.04, 0.95),
        sunshine_h=1_850, summer_rain_mm=320,
    ),
    Domain(
        "D080-2021", "Somme", (640_000, 6_985_000), 40, 70,
        (60, 1, 8, 10, 12, 4, 3, 2),
        {"winter wheat": 380, "beetroots": 110, "potatoes": 100, "maize": 80, "rapeseed": 70,
         "winter barley": 70, "fibre flax": 60, "fruits and vegetables": 30, "spring barley": 25,
         "spring peas": 20, "grasses, monoculture": 15, "other arable crops": 10,
         "winter protein crops": 8, "other protein crops": 8, "mustard": 5, "spring wheat": 8,
         "winter oat": 4, "alfalfa": 3, "hemp, tobacco": 3, "other oilseed crops": 3},
        {"fruit orchards": 880, "other permanent crops": 70, "berries": 50},
        "20210611", "20210901", "19470706", parcel_m=(140, 210), block_m=420, chalk=0.75,
        hedges=0.1, pools=0.04, slate=0.6, season_days=6, sun=(0.17, 0.985, 1.45),
        cast=(0.94, 1.0, 1.08, 1.08),
        sunshine_h=1_700, summer_rain_mm=180,
    ),
    Domain(
        "D012-2019", "Aveyron", (660_000, 6_370_000), 460, 260,
        (22, 3, 34, 22, 8, 2, 8, 1),
        {"grasses, monoculture": 400, "winter triticale": 110, "winter barley": 90,
         "winter wheat": 90, "maize": 80, "alfalfa": 70, "mixed crops": 30, "clover": 20,
         "other fodder legumes": 20, "spring barley": 20, "winter oat": 20, "winter rye": 10,
         "spring oat": 8, "buckwheat": 6, "other cereals": 6, "rapeseed": 6, "sorghum": 6,
         "sunflower": 6, "other spring cereals": 4, "potatoes": 3},
        {"vineyard": 620, "nut orchards": 300, "fruit orchards": 80},
        "20190629", "20190720", "19530802", held_out=True, parcel_m=(80, 115), conifers=0.4,
        hedges=0.5, slate=0.55, season_days=5, sun=(-0.42, 0.907, 1.50),
        sunshine_h=2_050, summer_rain_mm=190,
    ),
    Domain(
        "D035-2020", "Ille-et-Vilaine", (350_000, 6_790_000), 35, 60,
        (44, 1, 20, 10, 15, 5, 3, 2),
        {"maize": 310, "winter wheat": 250, "grasses, monoculture": 230, "winter barley": 50,
         "rapeseed": 35, "winter triticale": 20, "fruits and vegetables": 20, "alfalfa": 12,
         "clover": 12, "winter protein crops": 10, "buckwheat": 10, "winter oat": 10,
         "mixed crops": 10, "potatoes": 8, "spring peas": 6, "other protein crops": 6,
         "spring oat": 5, "other spring cereals": 6, "fibre flax": 3},
        {"fruit orchards": 940, "berries": 40, "other permanent crops": 20},
        "20200618", "20200707", "19520614", parcel_m=(85, 115), chalk=0.3, hedges=0.75,
        pools=0.07, slate=0.85, season_days=1, sun=(0.50, 0.866, 1.40),
        cast=(0.95, 1.02, 1.0, 1.05),
        sunshine_h=1_750, summer_rain_mm=140,
    ),
    Domain(
        "D034-2021", "Herault", (740_000, 6_265_000), 20, 130,
        (10, 38, 5, 16, 13, 4, 12, 2),
        {"winter durum wheat": 320, "grasses, monoculture": 150, "alfalfa": 100,
         "fruits and vegetables": 90, "sunflower": 60, "winter wheat": 60, "winter barley": 40,
         "other protein crops": 40, "other arable crops": 30, "spring barley": 25,
         "rapeseed": 20, "other fodder legumes": 20, "sorghum": 15, "winter triticale": 10,
         "aromatic and medicinal plants": 10, "maize": 10, "winter oat": 10, "mixed crops": 8,
         "other oilseed crops": 6, "rice": 6, "mustard": 5, "winter rye": 4},
        {"vineyard": 870, "olive groves": 65, "fruit orchards": 40, "nut orchards": 10,
         "other permanent crops": 6, "lavandin": 5, "berries": 4},
        "20210602", "20210705", "19551008", parcel_m=(60, 95), chalk=0.7, conifers=0.5,
        hedges=0.2, pools=0.35, slate=0.02, season_days=-14, sun=(-0.26, 0.966, 1.60),
        cast=(1.08, 1.0, 0.92, 0.95),
        sunshine_h=2_650, summer_rain_mm=90,
    ),
    Domain(
        "D069-2020", "Rhone", (825_000, 6_535_000), 190, 210,
        (22, 14, 18, 18, 17, 6, 4, 1),
        {"winter wheat": 220, "maize": 220, "grasses, monoculture": 200, "winter barley": 80,
         "rapeseed": 50, "sunflower": 40, "soy": 35, "winter triticale": 35,
         "fruits and vegetables": 30, "alfalfa": 25, "spring barley": 10, "sorghum": 8,
         "clover": 8, "mixed crops": 8, "winter oat": 8, "winter rye": 5, "potatoes": 5,
         "other protein crops": 5, "hemp, tobacco": 3},
        {"vineyard": 750, "fruit orchards": 210, "nut orchards": 18, "berries": 14,
         "other permanent crops": 8},
        "20200709", "20200619", "19540725", held_out=True, parcel_m=(65, 100), hedges=0.35,
        pools=0.22, slate=0.1, river_m=12.0, season_days=-1,
        sunshine_h=2_000, summer_rain_mm=210,
    ),
    Domain(
        "D030-2021", "Gard", (790_000, 6_300_000), 8, 90,
        (24, 26, 6, 18, 12, 4, 7, 3),
        {"winter durum wheat": 240, "rice": 180, "fruits and vegetables": 110,
         "grasses, monoculture": 110, "alfalfa": 90, "sunflower": 80, "winter wheat": 40,
         "winter barley": 30, "maize": 25, "other arable crops": 25, "other protein crops": 20,
         "rapeseed": 15, "sorghum": 15, "other fodder legumes": 10, "mixed crops": 6,
         "aromatic and medicinal plants": 6, "spring barley": 5, "millet, foxtail": 4,
         "other oilseed crops": 4, "spring wheat": 3},
        {"vineyard": 730, "fruit orchards": 150, "olive groves": 95, "nut orchards": 12,
         "lavandin": 6, "other permanent crops": 7},
        "20210528", "20210716", "19530617", parcel_m=(70, 110), chalk=0.65, conifers=0.5,
        hedges=0.2, pools=0.32, slate=0.02, river_m=12.0, season_days=-14,
        sun=(0.34, 0.940, 1.60), cast=(1.06, 1.0, 0.94, 0.95),
        sunshine_h=2_650, summer_rain_mm=110,
    ),
    Domain(
        "D004-2021", "Alpes-de-Haute-Provence", (925_000, 6_305_000), 480, 420,
        (20, 12, 12, 28, 8, 2, 16, 2),
        {"winter durum wheat": 210, "alfalfa": 170, "grasses, monoculture": 130,
         "winter wheat": 100, "spring barley": 65, "winter barley": 60,
         "other fodder legumes": 60, "aromatic and medicinal plants": 50, "sunflower": 25,
         "other cereals": 25, "other protein crops": 25, "rapeseed": 20, "winter triticale": 20,
         "winter rye": 15, "fruits and vegetables": 15, "maize": 15, "sorghum": 8,
         "other spring cereals": 5, "potatoes": 5, "winter protein crops": 5, "other flax": 4},
        {"lavandin": 630, "fruit orchards": 190, "olive groves": 130, "vineyard": 35,
         "nut orchards": 15},
        "20210626", "20210802", "19560712", parcel_m=(90, 150), block_m=300, chalk=0.75,
        conifers=0.55, hedges=0.15, pools=0.15, slate=0.05, season_days=-4,
        sun=(-0.17, 0.985, 1.60), cast=(1.05, 1.0, 0.97, 0.95),
        sunshine_h=2_700, summer_rain_mm=140,
    ),
    Domain(
        "D021-2020", "Cote-d'Or", (850_000, 6_690_000), 210, 180,
        (42, 9, 16, 20, 8, 3, 2, 1),
        {"winter wheat": 280, "winter barley": 130, "rapeseed": 110, "spring barley": 90,
         "maize": 75, "grasses, monoculture": 70, "soy": 55, "alfalfa": 35, "sunflower": 30,
         "mustard": 22, "spring peas": 15, "beetroots": 12, "winter triticale": 12,
         "other arable crops": 10, "winter protein crops": 8, "fruits and vegetables": 8,
         "potatoes": 6, "other flax": 5, "hemp, tobacco": 5, "winter oat": 5, "buckwheat": 4,
         "spring oat": 4, "other oilseed crops": 3},
        {"vineyard": 880, "berries": 60, "fruit orchards": 40, "nut orchards": 12,
         "other permanent crops": 8},
        "20200722", "20200731", "19500612", parcel_m=(125, 190), block_m=380, chalk=0.6,
        conifers=0.25, hedges=0.25, pools=0.12, slate=0.25, season_days=3,
        sun=(0.09, 0.996, 1.45), cast=(1.02, 1.0, 0.98, 1.0),
        sunshine_h=1_850, summer_rain_mm=190,
    ),
    Domain(
        "D032-2019", "Gers", (505_000, 6_285_000), 120, 120,
        (48, 8, 14, 14, 8, 3, 4, 1),
        {"winter wheat": 215, "sunflower": 170, "maize": 160, "soy": 75,
         "grasses, monoculture": 75, "winter durum wheat": 60, "winter barley": 50,
         "rapeseed": 45, "alfalfa": 25, "sorghum": 18, "other protein crops": 15,
         "fruits and vegetables": 15, "mixed crops": 12, "winter triticale": 12,
         "other arable crops": 12, "winter protein crops": 10, "spring barley": 8,
         "spring peas": 6, "other flax": 5, "winter oat": 5, "clover": 5, "other cereals": 4,
         "millet, foxtail": 3, "hemp, tobacco": 3},
        {"vineyard": 900, "fruit orchards": 70, "nut orchards": 20, "other permanent crops": 10},
        "20190626", "20190715", "19530721", parcel_m=(105, 160), block_m=330, chalk=0.45,
        conifers=0.1, hedges=0.3, pools=0.28, slate=0.03, season_days=-7,
        sun=(0.30, 0.954, 1.55), cast=(1.04, 1.0, 0.96, 1.0),
        sunshine_h=2_000, summer_rain_mm=170,
    ),
    Domain(
        "D064-2021", "Pyrenees-Atlantiques", (415_000, 6_240_000), 260, 2_700,
        (22, 4, 28, 20, 12, 3, 9, 2),
        {"maize": 420, "grasses, monoculture": 260, "winter wheat": 80, "soy": 60,
         "winter barley": 45, "sunflower": 40, "rapeseed": 30, "alfalfa": 20,
         "winter triticale": 15, "fruits and vegetables": 12, "mixed crops": 10,
         "other arable crops": 8, "clover": 8, "winter oat": 6, "sorghum": 6,
         "other protein crops": 5},
        {"vineyard": 600, "fruit orchards": 320, "berries": 40, "other permanent crops": 40},
        "20210712", "20210816", "19570902", held_out=True, parcel_m=(75, 115),
        valley_m=14_000, trough=1.0, chalk=0.4, conifers=0.4, hedges=0.45, pools=0.18, slate=0.45,
        season_days=-4, snow_line_m=2_350, sun=(0.22, 0.975, 1.50), cast=(1.01, 1.0, 1.01, 1.02),
        sunshine_h=1_850, summer_rain_mm=230,
    ),
    Domain(
        "D005-2018", "Hautes-Alpes", (945_000, 6_395_000), 780, 2_200,
        (13, 6, 22, 28, 9, 2, 18, 2),
        {"grasses, monoculture": 330, "alfalfa": 190, "winter wheat": 90, "winter triticale": 90,
         "winter barley": 80, "other fodder legumes": 70, "spring barley": 40, "maize": 25,
         "winter rye": 20, "mixed crops": 20, "potatoes": 15, "spring oat": 10,
         "other protein crops": 8, "fruits and vegetables": 8, "rapeseed": 6},
        {"fruit orchards": 820, "vineyard": 80, "lavandin": 50, "nut orchards": 30, "berries": 20},
        "20180724", "20180708", "19560818", parcel_m=(75, 115), valley_m=14_000, trough=1.0,
        chalk=0.7, conifers=0.7, hedges=0.2, pools=0.08, slate=0.4, season_days=14,
        snow_line_m=2_450, sun=(-0.26, 0.966, 1.60), cast=(1.03, 1.0, 1.0, 0.97),
        sunshine_h=2_500, summer_rain_mm=170,
    ),
)  # fmt: skip
"""All simulated domains; a data set of n domains holds the first n."""

DOMAINS_BY_KEY = {domain.key: domain for domain in DOMAINS}
