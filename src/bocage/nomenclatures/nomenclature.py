"""What a class list is: ids, names in English and French, colours, and which classes are scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from bocage.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class LandClass:
    """One class. `color` is #rrggbb; a class that is not `scored` is neither learnt nor counted."""

    id: int
    name: str
    name_fr: str
    color: str
    scored: bool = True

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three integers, 0 to 255."""
        value = int(self.color.removeprefix("#"), 16)
        return value >> 16, (value >> 8) & 255, value & 255


@dataclass(frozen=True)
class Nomenclature:
    """An ordered class list. Ids are 0..n-1 unless the source numbers them otherwise (FLAIR #1)."""

    name: str
    classes: tuple[LandClass, ...]

    def __post_init__(self) -> None:
        ids = [c.id for c in self.classes]
        if len(set(ids)) != len(ids):
            raise ConfigError(f"nomenclature '{self.name}': class ids repeat: {sorted(ids)}")

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[LandClass]:
        return iter(self.classes)

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """Class ids in order."""
        return tuple(c.id for c in self.classes)

    @cached_property
    def scored_ids(self) -> tuple[int, ...]:
        """Ids of the classes that are learnt and counted."""
        return tuple(c.id for c in self.classes if c.scored)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """English class names in order."""
        return tuple(c.name for c in self.classes)

    def by_id(self, class_id: int) -> LandClass:
        """The class with that id; `ConfigError` if there is none."""
        for land_class in self.classes:
            if land_class.id == class_id:
                return land_class
        raise ConfigError(unknown_name(f"class of {self.name}", str(class_id), map(str, self.ids)))

    def color_table(self) -> dict[int, tuple[int, int, int, int]]:
        """GDAL colour table: class id to red, green, blue, alpha."""
        return {c.id: (*c.rgb, 255) for c in self.classes}


def parse_classes(table: str, unscored: frozenset[int] = frozenset()) -> tuple[LandClass, ...]:
    """Classes from lines `id | English | French | #rrggbb`."""
    classes = []
    for line in table.strip().splitlines():
        number, name, name_fr, color = (cell.strip() for cell in line.split("|"))
        classes.append(LandClass(int(number), name, name_fr, color, int(number) not in unscored))
    return tuple(classes)
