"""Training a network from a configuration to a bundle."""

from __future__ import annotations

import logging
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from bocage.data import PatchDataModule
from bocage.errors import ConfigError, DataError
from bocage.models import AnyNetwork, build_network, load_bundle, save_bundle, start_from
from bocage.training.bundling import bundle_meta
from bocage.training.callbacks import EpochLog
from bocage.training.config import TrainingConfig
from bocage.training.folder import RunFolder
from bocage.training.module import SegmentationModule
from bocage.training.plan import Plan

_log = logging.getLogger("bocage")
_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "float32": "32-true",
    "bf16": "bf16-mixed",
    "float16": "16-mixed",
}


def fit(folder: RunFolder, plan: Plan, *, resume: bool = False, progress: bool = True) -> Path:
    """Train and write `model.safetensors` into the run's folder; returns its path.

    The folder must have been created (`RunFolder.create`). With `resume` training continues from
    the last checkpoint and ends where the uninterrupted run would have ended.
    """
    network, tasks, training = plan.network, plan.task_list, plan.training
    lightning.seed_everything(plan.seed, workers=True, verbose=False)
    names = [item.modality for item in network.inputs]
    module = PatchDataModule(plan.data, names, tasks, plan.seed)
    module.setup("fit")
    has_validation = module.has_validation
    if not has_validation and (training.select == "best" or training.patience is not None):
        raise ConfigError(
            "there are no validation patches, so the best epoch cannot be told. Set "
            "training.select=last and no patience, or name some with data.valid_splits."
        )
    if not has_validation and training.schedule == "plateau":
        raise ConfigError(
            "there are no validation patches, so no plateau of their loss can be seen. Choose "
            "another training.schedule, or name some with data.valid_splits."
        )

    built = build_network(network)
    if training.start_from is not None and not resume:
        _start(built, Path(training.start_from))
    model = SegmentationModule(built, tasks, plan.loss, training)
    trainer = lightning.Trainer(
        default_root_dir=folder.path,
        max_epochs=training.epochs,
        accelerator=training.accelerator,
        devices=training.devices,
        precision=_PRECISION[training.precision],
        gradient_clip_val=training.gradient_clip or None,
        accumulate_grad_batches=training.accumulate,
        check_val_every_n_epoch=training.validate_every,
        limit_val_batches=None if has_validation else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # our loader knows its rank, and repeats no patch
        logger=False,
        callbacks=_callbacks(folder, training, has_validation),
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    parameters = sum(p.numel() for p in model.network.parameters())
    _log.info(
        "%d training and %d validation patches, %.2f million parameters, %s on %s",
        module.count("train"),
        module.count("valid") if has_validation else 0,
        parameters / 1e6,
        training.precision,
        trainer.accelerator.__class__.__name__.removesuffix("Accelerator"),
    )
    with warnings.catch_warnings():
        # A small set needs no loader processes; Lightning advises them for any set.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Checkpoints of a resumed run stand where they stood: that is wanted.
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        # github.com/Lightning-AI/pytorch-lightning/issues/21326
        warnings.filterwarnings("ignore", message=".isinstance.treespec, LeafSpec")
        trainer.fit(model, datamodule=module, ckpt_path=folder.last if resume else None)

    chosen = folder.checkpoints / "best.ckpt" if training.select == "best" else folder.last
    if trainer.is_global_zero:
        state = torch.load(chosen, map_location="cpu", weights_only=True)
        prefix = "network."
        weights = {
            key.removeprefix(prefix): value
            for key, value in state["state_dict"].items()
            if key.startswith(prefix)
        }
        model.network.load_state_dict(weights)
        meta = bundle_meta(network, tasks, plan.data, module.tile_px, _metrics_of(state))
        save_bundle(folder.bundle, model.network, meta)
        _log.info("wrote %s (%s weights, epoch %d)", folder.bundle, training.select, state["epoch"])
    return folder.bundle


def _start(network: AnyNetwork, path: Path) -> None:
    """Fill the network with what fits of an earlier one's weights, and say what does not."""
    bundle = RunFolder(path).bundle if path.is_dir() else path
    try:
        start = start_from(network, load_bundle(bundle).network)
    except DataError as error:
        raise DataError(f"training.start_from={path}: {error}") from error
    _log.info(
        "starts from %s: %.2f of %.2f million parameters; anew: %s",
        bundle,
        start.taken / 1e6,
        start.parameters / 1e6,
        ", ".join(start.anew) or "none",
    )


def _callbacks(folder: RunFolder, training: TrainingConfig, has_validation: bool) -> list[Callback]:
    callbacks: list[Callback] = [EpochLog(folder.metrics)]
    if has_validation:
        callbacks.append(
            ModelCheckpoint(
                folder.checkpoints,
                filename="best",
                monitor="valid/miou",
                mode="max",
                enable_version_counter=False,
            )
        )
    # After the best: the checkpoint to resume from must know what has been best so far.
    callbacks.append(
        ModelCheckpoint(
            folder.checkpoints,
            filename="last",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    )
    if training.checkpoint_minutes is not None:
        callbacks.append(
            ModelCheckpoint(
                folder.checkpoints,
                filename="last",
                train_time_interval=timedelta(minutes=training.checkpoint_minutes),
                enable_version_counter=False,
            )
        )
    if training.patience is not None:
        callbacks.append(EarlyStopping("valid/miou", mode="max", patience=training.patience))
    return callbacks


def _metrics_of(state: dict[str, Any]) -> dict[str, float]:
    """The validation score that a checkpoint was chosen by, if it was."""
    for name, values in state.get("callbacks", {}).items():
        if name.startswith("ModelCheckpoint") and values.get("best_model_score") is not None:
            return {"valid/miou": float(values["best_model_score"])}
    return {}
