"""Declared crops (LPIS) at three levels: 23, 31 and 46 classes, and the tree that joins them.

Level 1 names and colours: FLAIR-HUB. Levels 2 and 3: English names as published through the
dataset's public readers; French names are our translation of them. Where the published material
leaves the tree uncertain (inside level-1 classes 4, 15 and 20) it is inferred from the order of
the classes; the co-occurrence of the three bands of real labels settles it.
"""

from __future__ import annotations

from bocage.nomenclatures.nomenclature import LandClass, Nomenclature, parse_classes

LPIS_1 = Nomenclature(
    "lpis-1",
    parse_classes(
        """
        0 | grasses | herbe prédominante | #92d050
        1 | wheat | blé | #d7e600
        2 | barley | orge | #e0e000
        3 | maize | maïs | #fff100
        4 | other cereals | autres céréales | #ffff00
        5 | rice | riz | #e8e8e8
        6 | flax, hemp, tobacco | lin, chanvre, tabac | #dceaf7
        7 | sunflower | tournesol | #d29ead
        8 | rapeseed | colza | #d29ed0
        9 | other oilseed crops | autres oléagineux | #ffbe99
        10 | soy | soja | #ffc000
        11 | other protein crops | autres protéagineux | #ff9000
        12 | fodder legumes | légumineuses fourragères | #009999
        13 | beetroots | betterave | #808000
        14 | potatoes | pomme de terre | #a7a700
        15 | other arable crops | autres cultures arables | #89896d
        16 | vineyard | vigne | #f2cfee
        17 | olive groves | oliveraie | #6f6633
        18 | fruit orchards | verger (fruits) | #ac8141
        19 | nut orchards | verger (fruits à coque) | #996633
        20 | other permanent crops | autres cultures pérennes | #80c1d7
        21 | mixed crops | mélange | #000000
        22 | background | autres | #000000
        """
    ),
)

# id | English | French | parent at level 1
_LEVEL_2 = """
0 | grasses | herbe prédominante | 0
1 | wheat | blé | 1
2 | barley | orge | 2
3 | maize | maïs | 3
4 | sorghum, millet | sorgho, millet | 4
5 | other winter cereals | autres céréales d'hiver | 4
6 | other spring cereals | autres céréales de printemps | 4
7 | other cereals | autres céréales | 4
8 | rice | riz | 5
9 | hemp, tobacco | chanvre, tabac | 6
10 | flax | lin | 6
11 | sunflower | tournesol | 7
12 | rapeseed | colza | 8
13 | other oilseed crops | autres oléagineux | 9
14 | soy | soja | 10
15 | other protein crops | autres protéagineux | 11
16 | alfalfa | luzerne | 12
17 | other fodder legumes | autres légumineuses fourragères | 12
18 | beetroots | betterave | 13
19 | potatoes | pomme de terre | 14
20 | fruits and vegetables | fruits et légumes | 15
21 | aromatic and medicinal plants | plantes aromatiques et médicinales | 15
22 | other arable crops | autres cultures arables | 15
23 | vineyard | vigne | 16
24 | olive groves | oliveraie | 17
25 | fruit orchards | verger (fruits) | 18
26 | nut orchards | verger (fruits à coque) | 19
27 | lavandin | lavandin | 20
28 | other permanent crops | autres cultures pérennes | 20
29 | mixed crops | mélange | 21
30 | background | autres | 22
"""

# id | English | French | parent at level 2
_LEVEL_3 = """
0 | grasses, monoculture | herbe, monoculture | 0
1 | grasses, mixture | herbe, mélange | 0
2 | winter wheat | blé d'hiver | 1
3 | spring wheat | blé de printemps | 1
4 | winter barley | orge d'hiver | 2
5 | spring barley | orge de printemps | 2
6 | maize | maïs | 3
7 | sorghum | sorgho | 4
8 | millet, foxtail | millet, moha | 4
9 | winter durum wheat | blé dur d'hiver | 5
10 | winter triticale | triticale d'hiver | 5
11 | winter oat | avoine d'hiver | 5
12 | winter rye | seigle d'hiver | 5
13 | spring oat | avoine de printemps | 6
14 | other spring cereals | autres céréales de printemps | 6
15 | other cereals | autres céréales | 7
16 | rice | riz | 8
17 | hemp, tobacco | chanvre, tabac | 9
18 | fibre flax | lin textile | 10
19 | other flax | autres lins | 10
20 | sunflower | tournesol | 11
21 | rapeseed | colza | 12
22 | mustard | moutarde | 13
23 | other oilseed crops | autres oléagineux | 13
24 | soy | soja | 14
25 | spring peas | pois de printemps | 15
26 | winter protein crops | protéagineux d'hiver | 15
27 | other protein crops | autres protéagineux | 15
28 | alfalfa | luzerne | 16
29 | clover | trèfle | 17
30 | other fodder legumes | autres légumineuses fourragères | 17
31 | beetroots | betterave | 18
32 | potatoes | pomme de terre | 19
33 | fruits and vegetables | fruits et légumes | 20
34 | aromatic and medicinal plants | plantes aromatiques et médicinales | 21
35 | buckwheat | sarrasin | 22
36 | other arable crops | autres cultures arables | 22
37 | vineyard | vigne | 23
38 | olive groves | oliveraie | 24
39 | fruit orchards | verger (fruits) | 25
40 | nut orchards | verger (fruits à coque) | 26
41 | lavandin | lavandin | 27
42 | berries | petits fruits | 28
43 | other permanent crops | autres cultures pérennes | 28
44 | mixed crops | mélange | 29
45 | background | autres | 30
"""


def _shade(color: str, sibling: int) -> str:
    """A darker tone of the parent's colour for each further sibling, so that levels look alike."""
    value = int(color.removeprefix("#"), 16)
    factor = 0.82**sibling
    channels = (value >> 16, (value >> 8) & 255, value & 255)
    return "#" + "".join(f"{round(channel * factor):02x}" for channel in channels)


def _level(name: str, table: str, above: Nomenclature) -> tuple[Nomenclature, tuple[int, ...]]:
    classes: list[LandClass] = []
    parents: list[int] = []
    for line in table.strip().splitlines():
        number, english, french, parent = (cell.strip() for cell in line.split("|"))
        color = _shade(above.classes[int(parent)].color, parents.count(int(parent)))
        classes.append(LandClass(int(number), english, french, color))
        parents.append(int(parent))
    return Nomenclature(name, tuple(classes)), tuple(parents)


LPIS_2, LEVEL_2_PARENTS = _level("lpis-2", _LEVEL_2, LPIS_1)
"""31 classes, and for each the id of its level-1 class."""
LPIS_3, LEVEL_3_PARENTS = _level("lpis-3", _LEVEL_3, LPIS_2)
"""46 classes, and for each the id of its level-2 class."""
