"""From a published checkpoint to a bundle with all that prediction needs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from bocage.models import BundleMeta, save_bundle
from bocage.models.published import (
    Imported,
    PublishedConfig,
    get_entry,
    import_checkpoint,
    published_config,
)
from bocage.nomenclatures import get_task
from bocage.series import SeriesConfig
from bocage.training.bundling import bundle_tasks


def import_bundle(
    checkpoint: Path,
    config: PublishedConfig,
    output: Path,
    *,
    adapt: Collection[str] = (),
    keep_auxiliary: bool = True,
    origin: str = "",
) -> Imported:
    """Write `output` from a checkpoint of the network that `config` describes.

    `origin` says where the checkpoint is from; its file name if empty. Published scores go into the
    bundle only where it is exactly the network that they are of. Strict, as `import_checkpoint`.
    """
    imported = import_checkpoint(checkpoint, config, adapt, keep_auxiliary=keep_auxiliary)
    entry = get_entry(config.name)
    usual = published_config(config.name) == config and not adapt
    scores = {"overall_accuracy": entry.overall_accuracy, "mean_iou": entry.mean_iou}
    meta = BundleMeta(
        network=imported.network.config,
        tasks=bundle_tasks([get_task(task.name) for task in config.tasks]),
        tile_px=config.tile_px,
        # These networks know no absence: ground under clouds all year gets its clearest date.
        series=SeriesConfig(min_dates=1),
        data=f"FLAIR-HUB; imported from {origin or checkpoint.name}",
        metrics={"published, test split, percent": scores} if usual else {},
    )
    save_bundle(output, imported.network, meta)
    return imported
