"""The course of the year: how green and how dry each cover is on each day.

Covers follow straight-forward calendars of knots (day of year : cover fraction) after the usual
sowing, flowering and harvest dates of metropolitan France (Agreste and technical institutes, in
round numbers); fractions between knots are chosen. Radar parameters are those of the water-cloud
model (Attema & Ulaby 1978), chosen so that C-band levels by crop have the order of Veloso et al.
(2017): cereals attenuate VV while they grow upright, maize, rapeseed and beet scatter in VH.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bocage.simulate.hashing import Floats

DAYS = 366

ENDMEMBERS = (
    "crop leaf", "broad leaf", "needle", "straw", "flower", "bright soil", "dark soil",
    "water", "built", "roof", "glass", "snow",
)  # fmt: skip

# Reflectance of the pure covers in Sentinel-2's ten bands, ten-thousandths. Vegetation follows
# the levels that PROSAIL (Jacquemoud et al. 2009) gives for dense canopies; others are chosen.
_SPECTRA = """
250 600 300 1000 3000 3900 4150 4350 2000 950
200 450 240 800 2500 3200 3400 3550 1650 750
180 330 210 560 1550 1950 2100 2200 1000 460
800 1150 1500 1950 2250 2450 2600 2750 3300 2500
350 1450 1250 1800 3100 3700 3900 4000 2100 1050
900 1250 1700 2000 2200 2400 2600 2750 3500 3150
520 720 960 1150 1300 1420 1550 1650 2350 2050
480 460 310 210 130 110 95 85 40 30
1300 1450 1600 1700 1800 1900 2000 2050 2300 2200
1050 1250 1700 1950 2100 2250 2350 2450 2900 2700
2300 2450 2500 2650 2800 2950 3050 3100 2900 2500
8500 8600 8500 8400 8200 8000 7800 7500 1200 900
"""
SPECTRA: Floats = np.array([line.split() for line in _SPECTRA.strip().splitlines()], np.float32)
"""Reflectance x 10000 of each endmember in the ten bands, (E, 10)."""

# calendar | leaf | green | dry | flower | VV and VH of the canopy, attenuation (water-cloud A, B)
_CALENDARS = """
winter wheat | crop leaf | 0:.22 60:.30 100:.72 130:.95 158:.88 184:.10 198:.02 305:.02 335:.14 365:.22 | 152:0 182:.80 197:.82 201:.35 235:.15 262:0 | | .050 .012 1.15
winter barley | crop leaf | 0:.28 55:.36 92:.78 120:.95 142:.80 164:.10 178:.02 290:.02 325:.18 365:.28 | 135:0 160:.82 176:.82 181:.35 220:.15 250:0 | | .055 .014 1.05
spring barley | crop leaf | 0:.02 72:.02 100:.25 128:.85 152:.92 172:.60 192:.05 365:.02 | 160:0 192:.80 203:.82 208:.35 245:.12 270:0 | | .055 .013 1.05
winter durum wheat | crop leaf | 0:.25 55:.32 92:.70 122:.92 148:.82 174:.10 188:.02 310:.02 340:.15 365:.25 | 142:0 172:.80 188:.80 192:.32 228:.12 256:0 | | .050 .012 1.10
winter triticale | crop leaf | 0:.24 60:.34 102:.78 134:.96 165:.86 190:.10 204:.02 298:.02 330:.16 365:.24 | 158:0 188:.80 203:.82 207:.38 242:.15 268:0 | | .055 .015 1.10
maize | crop leaf | 0:.02 132:.02 158:.25 188:.88 212:.95 244:.90 268:.35 285:.02 365:.02 | 240:0 270:.50 283:.55 289:.15 330:.05 | | .110 .034 .55
sunflower | crop leaf | 0:.02 112:.02 140:.30 168:.88 198:.85 222:.40 240:.05 365:.02 | 205:0 235:.45 255:.40 262:.10 300:.02 | 180:0 192:.25 204:.25 214:0 | .120 .040 .50
soy | crop leaf | 0:.02 140:.02 168:.30 200:.92 236:.93 258:.40 270:.02 365:.02 | 245:0 266:.50 275:.40 282:.10 320:.02 | | .095 .026 .60
rapeseed | crop leaf | 0:.48 50:.45 82:.85 102:.75 128:.75 148:.85 168:.35 184:.02 245:.02 275:.35 310:.60 365:.48 | 152:0 178:.70 189:.75 194:.25 230:.10 250:0 | 92:0 104:.35 118:.35 130:0 | .115 .042 .60
beetroots | crop leaf | 0:.02 98:.02 128:.20 162:.88 200:.96 262:.90 290:.80 306:.03 365:.02 | | | .150 .034 .70
potatoes | crop leaf | 0:.02 122:.02 145:.25 168:.88 200:.90 226:.45 240:.03 365:.02 | 215:0 238:.30 258:.10 275:0 | | .140 .032 .60
fibre flax | crop leaf | 0:.02 82:.02 105:.30 132:.90 158:.85 180:.15 188:.02 365:.02 | 165:0 186:.70 222:.65 236:.05 | 154:0 160:.15 168:0 | .060 .015 .90
spring peas | crop leaf | 0:.02 72:.02 100:.30 132:.90 156:.80 174:.08 365:.02 | 155:0 178:.60 188:.55 194:.12 235:0 | | .080 .022 .70
alfalfa | crop leaf | 0:.35 65:.45 105:.90 130:.95 134:.30 162:.92 172:.93 176:.28 206:.88 214:.90 218:.30 250:.85 262:.86 266:.35 310:.55 365:.35 | 130:0 136:.15 150:0 172:0 178:.15 192:0 214:0 220:.15 235:0 | | .080 .024 .70
grasses, monoculture | crop leaf | 0:.52 60:.58 105:.92 136:.94 141:.45 172:.78 186:.76 190:.45 235:.58 290:.75 365:.52 | 136:0 143:.18 160:0 186:.05 196:.20 240:.12 275:0 | | .070 .016 .75
grasses, mixture | crop leaf | 0:.50 70:.55 110:.78 150:.82 200:.62 235:.52 285:.66 365:.50 | 0:.12 80:.12 120:.04 165:.10 215:.28 245:.30 290:.14 365:.12 | | .065 .015 .70
rice | crop leaf | 0:.02 135:.02 165:.30 196:.90 228:.90 252:.35 268:.02 365:.02 | 232:0 256:.60 268:.55 274:.20 320:.10 365:.05 | | .090 .016 .70
vineyard | broad leaf | 0:.10 95:.14 125:.25 165:.46 225:.48 275:.35 305:.12 365:.10 | 0:.10 120:.10 200:.16 260:.14 320:.12 365:.10 | | .100 .018 .50
olive groves | broad leaf | 0:.36 120:.42 180:.38 250:.36 365:.36 | 0:.05 150:.08 200:.20 260:.18 320:.06 365:.05 | | .120 .026 .50
fruit orchards | broad leaf | 0:.30 80:.34 115:.60 150:.78 240:.74 290:.55 320:.32 365:.30 | 0:.12 90:.08 140:.04 220:.08 300:.12 365:.12 | 84:0 92:.12 100:0 | .125 .032 .60
nut orchards | broad leaf | 0:.26 105:.34 135:.68 170:.88 250:.84 298:.50 325:.28 365:.26 | 0:.12 100:.10 150:.04 240:.06 310:.14 365:.12 | | .130 .036 .60
lavandin | crop leaf | 0:.18 90:.20 140:.42 175:.40 200:.22 260:.26 365:.18 | 0:.08 150:.06 190:.16 230:.14 365:.08 | 168:0 182:.12 196:0 | .085 .014 .50
rough grass | crop leaf | 0:.38 80:.42 125:.66 170:.55 215:.36 265:.42 300:.48 365:.38 | 0:.28 110:.18 150:.18 215:.42 265:.34 320:.28 365:.28 | | .065 .015 .65
lawn | crop leaf | 0:.60 100:.75 150:.80 215:.62 280:.72 365:.60 | 0:.05 170:.06 220:.20 270:.06 365:.05 | | .060 .013 .60
broad-leaved | broad leaf | 0:.14 98:.16 128:.86 165:.97 255:.92 292:.60 318:.16 365:.14 | 0:.34 98:.32 125:.04 265:.05 295:.25 320:.34 365:.34 | | .145 .036 1.30
coniferous | needle | 0:.93 180:.97 365:.93 | | | .140 .038 1.40
brush | broad leaf | 0:.40 100:.44 140:.72 200:.64 270:.58 320:.42 365:.40 | 0:.24 120:.16 210:.22 300:.22 365:.24 | | .110 .027 .90
bare | crop leaf | 0:.03 365:.03 | 0:.04 365:.04 | | .050 .010 .30
gravel | crop leaf | 0:.08 140:.14 250:.10 365:.08 | 0:.04 365:.04 | | .060 .010 .30
"""  # noqa: E501

# Covers without a season: endmember, VV, VH in linear power (C-band levels by cover, chosen).
_STATIC = {
    "water": ("water", 0.010, 0.0012),
    "snow": ("snow", 0.050, 0.0080),
    "paved": ("built", 0.070, 0.0110),
    "roof": ("roof", 0.480, 0.0750),
    "greenhouse": ("glass", 0.330, 0.0450),
}


@dataclass(frozen=True)
class Calendars:
    """Courses of the year, one row per name in `names` (K of them).

    `green`, `dry`, `flower` (K, 366) cover fractions; `leaf` (K,) endmember of the green part;
    `canopy` (K, 3) water-cloud parameters (A of VV, A of VH, B); for covers without a season
    `fixed` (K,) is their endmember (else -1) and `echo` (K, 2) their VV and VH in linear power.
    """

    names: tuple[str, ...]
    green: Floats
    dry: Floats
    flower: Floats
    leaf: NDArray[np.intp]
    canopy: Floats
    fixed: NDArray[np.intp]
    echo: Floats

    def index(self, name: str) -> int:
        """Row of that course."""
        return self.names.index(name)


def _course(knots: str) -> Floats:
    """Cover per day of year, (366,) float32, through cubic steps between `day:value` knots."""
    course = np.zeros(DAYS, dtype=np.float64)
    pairs = [knot.split(":") for knot in knots.split()]
    days = [int(day) for day, _ in pairs]
    values = [float(value) for _, value in pairs]
    for day in range(DAYS if days else 0):
        k = sum(d <= day for d in days)
        if k in (0, len(days)):
            course[day] = values[0] if k == 0 else values[-1]
            continue
        t = (day - days[k - 1]) / (days[k] - days[k - 1])
        course[day] = values[k - 1] + (values[k] - values[k - 1]) * t * t * (3 - 2 * t)
    return course.astype(np.float32)


def _build() -> Calendars:
    rows = [[cell.strip() for cell in line.split("|")] for line in _CALENDARS.strip().splitlines()]
    seasonal, static = len(rows), len(_STATIC)
    blank = np.zeros((static, DAYS), dtype=np.float32)
    echo = np.zeros((seasonal + static, 2), dtype=np.float32)
    echo[seasonal:] = [(vv, vh) for _, vv, vh in _STATIC.values()]
    return Calendars(
        names=(*(row[0] for row in rows), *_STATIC),
        green=np.concatenate([np.stack([_course(row[2]) for row in rows]), blank]),
        dry=np.concatenate([np.stack([_course(row[3]) for row in rows]), blank]),
        flower=np.concatenate([np.stack([_course(row[4]) for row in rows]), blank]),
        leaf=np.array([ENDMEMBERS.index(row[1]) for row in rows] + [0] * static, dtype=np.intp),
        canopy=np.array([row[5].split() for row in rows] + [[0, 0, 0]] * static, dtype=np.float32),
        fixed=np.array(
            [-1] * seasonal + [ENDMEMBERS.index(e) for e, _, _ in _STATIC.values()], dtype=np.intp
        ),
        echo=echo,
    )


CALENDARS = _build()
