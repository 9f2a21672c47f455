"""The Lightning module: a network, its loss, and the one score that picks and reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from bocage.evaluation import ConfusionMatrix, decide, score, wrong_share
from bocage.losses import ClassLosses, CompositeLoss, LossConfig
from bocage.models import AnyNetwork, NetworkOutput
from bocage.nomenclatures import Task
from bocage.sample import Batch
from bocage.training.config import TrainingConfig

ONE_CYCLE_START = 1e-3
"""Share of the highest learning rate that `one_cycle` starts from, as in FLAIR-HUB's recipe."""


def learning_rate_factor(step: int, total: int, training: TrainingConfig) -> float:
    """Share of the highest learning rate at `step` of `total`, for a schedule by steps.

    Defined for every step, also past the end: a resumed run can never ask for one too many.
    """
    if training.schedule == "constant":
        return 1.0
    rise = max(round(total * training.warmup), 1)
    if step < rise:
        climbed = (step + 1) / rise
        if training.schedule == "cosine":
            return climbed
        return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * 0.5 * (1.0 - math.cos(math.pi * climbed))
    progress = min((step - rise) / max(total - rise, 1), 1.0)
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights of matrices and convolutions decay; biases, norms and learnt vectors do not."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim >= 2]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim < 2]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


class SegmentationModule(lightning.LightningModule):
    """Trains `network` on `tasks`; validation runs the network once per batch.

    Logs `train/loss` and its parts, `valid/loss`, `valid/miou` (the mean over tasks of the macro
    mIoU that `bocage evaluate` reports), `valid/miou/TASK` and `valid/loss/TASK/CLASS`.
    """

    def __init__(
        self,
        network: AnyNetwork,
        tasks: Sequence[Task],
        loss: LossConfig,
        training: TrainingConfig,
    ) -> None:
        super().__init__()
        self.network = network
        self.tasks = tuple(tasks)
        self.training_config = training
        self.loss = CompositeLoss(self.tasks, loss)
        self._chance: Tensor | None = None
        self.confusion = nn.ModuleDict({t.name: ConfusionMatrix(t, ["all"]) for t in self.tasks})
        self.class_losses = nn.ModuleDict({t.name: ClassLosses(t) for t in self.tasks})

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """One step; returns the total loss."""
        output = self.network(**batch.network_inputs())
        loss, parts = self._losses(output, batch)
        self._note_errors(output, batch)
        named = {f"train/{name}": part for name, part in parts.items() if name != "total"}
        named["train/loss"] = loss.detach()
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=len(batch))
        self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Losses and confusion counts from one forward pass."""
        output = self.network(**batch.network_inputs())
        loss, _ = self._losses(output, batch)
        self.log("valid/loss", loss, batch_size=len(batch), sync_dist=True)
        for task in self.tasks:
            prediction = decide(output.logits[task.name], task)
            self._matrix(task).update(prediction, batch.labels[task.name])
            self._class_losses(task).update(output.logits[task.name], batch.labels[task.name])

    def on_validation_epoch_end(self) -> None:
        """Reduce the confusion matrices over all ranks and log the scores."""
        scores = []
        for task in self.tasks:
            matrix = self._matrix(task).compute().cpu().numpy()
            miou = score(matrix, task).miou or 0.0
            scores.append(miou)
            self.log(f"valid/miou/{task.name}", miou, rank_zero_only=True)
            self._matrix(task).reset()
            for name, loss in self._class_losses(task).compute().items():
                self.log(f"valid/loss/{task.name}/{name}", loss, rank_zero_only=True)
            self._class_losses(task).reset()
        # Every rank logs the same number: checkpoint and early stopping decide alike everywhere.
        self.log("valid/miou", sum(scores) / len(scores), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule as configured, stepped per batch, or per validation (plateau)."""
        config = self.training_config
        groups = parameter_groups(self.network, config.weight_decay)
        optimizer: torch.optim.Optimizer
        if config.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
        else:
            optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        if config.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=config.plateau_factor, patience=config.plateau_patience
            )
            return {
                "optimizer": optimizer,
                "lr_scheduler": {
                    "scheduler": plateau,
                    "monitor": "valid/loss",
                    "frequency": config.validate_every,
                },
            }
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, total, config)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of chance: a run goes on as the unbroken one would."""
        checkpoint["chance"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember it until training starts: until then Lightning draws numbers of its own."""
        self._chance = checkpoint.get("chance")

    def on_train_start(self) -> None:
        """Go on with the chance of the checkpoint; ranks other than the first on their own."""
        if self._chance is not None and self.global_rank == 0:
            torch.set_rng_state(self._chance.cpu())
        self._chance = None

    def _note_errors(self, output: NetworkOutput, batch: Batch) -> None:
        """Tell the data module how wrong each patch is, mean over tasks, where it wants to know."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if not getattr(data, "wants_errors", False):
            return
        shares = [
            wrong_share(decide(output.logits[t.name].detach(), t), batch.labels[t.name], t)
            for t in self.tasks
        ]
        data.note_errors(torch.stack(shares).nanmean(0))

    def _losses(self, output: NetworkOutput, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        total, parts = self.loss(
            output.logits, batch.labels, output.auxiliary, output.auxiliary_present
        )
        return total, parts

    def _matrix(self, task: Task) -> ConfusionMatrix:
        matrix = self.confusion[task.name]
        assert isinstance(matrix, ConfusionMatrix)
        return matrix

    def _class_losses(self, task: Task) -> ClassLosses:
        losses = self.class_losses[task.name]
        assert isinstance(losses, ClassLosses)
        return losses
