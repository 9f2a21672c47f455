"""What happens at the end of each epoch besides learning."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback

_log = logging.getLogger("bocage")


class EpochLog(Callback):
    """One JSON line per epoch in `metrics.jsonl`, one readable line in the log.

    A resumed run drops the lines of epochs that it is going to repeat, so that the file holds
    every epoch once.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.started = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Keep the lines of finished epochs only."""
        if trainer.is_global_zero and self.target.is_file():
            lines = self.target.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["epoch"] < trainer.current_epoch]
            self.target.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        """Start the epoch's clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        """Write what the epoch brought."""
        if not trainer.is_global_zero:
            return
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        values = {
            name: float(value)
            for name, value in sorted(trainer.callback_metrics.items())
            if isinstance(value, torch.Tensor)
            and value.numel() == 1
            # Between two validations Lightning keeps the scores of the last one.
            and (validated or not name.startswith("valid/"))
        }
        seconds = round(time.monotonic() - self.started, 2)
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "seconds": seconds}
        with self.target.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({**row, **values}) + "\n")
        shown = "  ".join(
            f"{name} {values[name]:.4f}"
            for name in ("train/loss", "valid/loss", "valid/miou")
            if name in values
        )
        _log.info(
            "epoch %d/%d  %s  (%.0f s)",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            shown,
            seconds,
        )
