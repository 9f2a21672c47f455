"""What travels with the weights: enough to predict, and to refuse what does not match."""

from __future__ import annotations

from collections.abc import Sequence

from bocage.data import DataConfig
from bocage.models import AnyNetworkConfig, BundleClass, BundleMeta, BundleTask
from bocage.nomenclatures import Task


def bundle_tasks(tasks: Sequence[Task]) -> tuple[BundleTask, ...]:
    """Tasks as a bundle holds them: with whole class lists, so that no other file is needed."""
    return tuple(
        BundleTask(
            name=task.name,
            slug=task.slug,
            classes=tuple(
                BundleClass(id=c.id, name=c.name, name_fr=c.name_fr, color=c.color, scored=c.scored)
                for c in task.nomenclature
            ),
        )
        for task in tasks
    )


def bundle_meta(
    network: AnyNetworkConfig,
    tasks: Sequence[Task],
    data: DataConfig,
    tile_px: int,
    metrics: dict[str, float],
) -> BundleMeta:
    """The description of a network that was trained here."""
    return BundleMeta(
        network=network,
        tasks=bundle_tasks(tasks),
        tile_px=tile_px,
        series=data.series,
        data=f"{data.layout}, {data.split_column}",
        metrics=metrics,
    )
