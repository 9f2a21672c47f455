"""Class lists with names, colours and hierarchy, and the tasks that give labels their meaning."""

from bocage.nomenclatures.crops import (
    LEVEL_2_PARENTS,
    LEVEL_3_PARENTS,
    LPIS_1,
    LPIS_2,
    LPIS_3,
)
from bocage.nomenclatures.land_cover import COSIA, FLAIR1, FLAIR1_TO_COSIA, FLAIR_CHALLENGE
from bocage.nomenclatures.nomenclature import LandClass, Nomenclature
from bocage.nomenclatures.task import (
    CROPS,
    CROPS_2,
    CROPS_3,
    FLAIR_12,
    IGNORE,
    LAND_COVER,
    TASKS,
    Task,
    get_task,
)

__all__ = [
    "COSIA",
    "CROPS",
    "CROPS_2",
    "CROPS_3",
    "FLAIR1",
    "FLAIR1_TO_COSIA",
    "FLAIR_12",
    "FLAIR_CHALLENGE",
    "IGNORE",
    "LAND_COVER",
    "LEVEL_2_PARENTS",
    "LEVEL_3_PARENTS",
    "LPIS_1",
    "LPIS_2",
    "LPIS_3",
    "TASKS",
    "LandClass",
    "Nomenclature",
    "Task",
    "get_task",
]
