"""CoSIA land cover (FLAIR-HUB, 19 classes of which 15 are scored) and FLAIR #1/#2's own codes."""

from __future__ import annotations

from dataclasses import replace

from bocage.nomenclatures.nomenclature import LandClass, Nomenclature, parse_classes

# Ids, names and colours: FLAIR-HUB data description. Classes 15 to 18 have loss weight zero there.
COSIA = Nomenclature(
    "cosia",
    parse_classes(
        """
        0 | building | bâtiment | #db0e9a
        1 | greenhouse | serre | #9999ff
        2 | swimming pool | piscine | #3de6eb
        3 | impervious surface | zone imperméable | #f80c00
        4 | pervious surface | zone perméable | #938e7b
        5 | bare soil | sol nu | #a97101
        6 | water | eau | #1553ae
        7 | snow | neige | #ffffff
        8 | herbaceous vegetation | surface herbacée | #55ff00
        9 | agricultural land | culture | #fff30d
        10 | plowed land | terre labourée | #e4df7c
        11 | vineyard | vigne | #660082
        12 | deciduous | feuillu | #46e483
        13 | coniferous | conifère | #194a26
        14 | brushwood | broussaille | #f3a60d
        15 | clear cut | coupe | #8ab3a0
        16 | ligneous | ligneux | #c5dc42
        17 | mixed | mixte | #6b714f
        18 | undefined | indéterminé | #000000
        """,
        unscored=frozenset({15, 16, 17, 18}),
    ),
)

FLAIR1 = Nomenclature(
    "flair1",
    parse_classes(
        """
        1 | building | bâtiment | #db0e9a
        2 | pervious surface | zone perméable | #938e7b
        3 | impervious surface | zone imperméable | #f80c00
        4 | bare soil | sol nu | #a97101
        5 | water | eau | #1553ae
        6 | coniferous | conifère | #194a26
        7 | deciduous | feuillu | #46e483
        8 | brushwood | broussaille | #f3a60d
        9 | vineyard | vigne | #660082
        10 | herbaceous vegetation | surface herbacée | #55ff00
        11 | agricultural land | culture | #fff30d
        12 | plowed land | terre labourée | #e4df7c
        13 | swimming pool | piscine | #3de6eb
        14 | snow | neige | #ffffff
        15 | clear cut | coupe | #8ab3a0
        16 | mixed | mixte | #6b714f
        17 | ligneous | ligneux | #c5dc42
        18 | greenhouse | serre | #9999ff
        19 | other | autre | #000000
        """,
        unscored=frozenset(range(13, 20)),
    ),
)
"""FLAIR #1 and #2: codes in the files start at 1; their score is the mean over codes 1 to 12."""

FLAIR1_TO_COSIA: dict[int, int] = {
    1: 0, 2: 4, 3: 3, 4: 5, 5: 6, 6: 13, 7: 12, 8: 14, 9: 11, 10: 8,
    11: 9, 12: 10, 13: 2, 14: 7, 15: 15, 16: 17, 17: 16, 18: 1, 19: 18,
}  # fmt: skip
"""FLAIR #1 code to CoSIA id, by name."""

FLAIR_CHALLENGE = Nomenclature(
    "flair-challenge",
    (
        *(replace(FLAIR1.by_id(code), id=code - 1) for code in range(1, 13)),
        LandClass(12, "other", "autre", "#000000", scored=False),
    ),
)
"""The baselines' 13 outputs for FLAIR #1 and #2: codes 1 to 12 become 0 to 11, in their order, and
all rarer classes are "other", which is neither learnt nor predicted."""

COSIA_TO_CHALLENGE: tuple[tuple[int, int], ...] = tuple(
    (cosia, min(code - 1, 12)) for code, cosia in FLAIR1_TO_COSIA.items()
)
"""CoSIA id and output of the challenges: FLAIR #1's codes by way of their CoSIA ids, one to one."""
