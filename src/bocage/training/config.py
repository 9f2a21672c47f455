"""How a run is trained: the frozen `TrainingConfig`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TrainingConfig(BaseModel):
    """Optimiser, schedule, precision, and which weights a run keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=30, ge=1)
    """Passes over the training patches."""
    start_from: str | None = None
    """A run's folder or a model.safetensors whose weights the network starts from, as far as they
    fit: to fine-tune it."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """How weights follow their gradients."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Highest learning rate."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay, AdamW's decoupled; biases and normalisation weights are left out."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD."""
    schedule: Literal["cosine", "one_cycle", "plateau", "constant"] = "cosine"
    """`cosine`: a linear rise, then half a cosine down to 0. `one_cycle`: half a cosine up from a
    thousandth, then half a cosine down. `plateau`: lowered when the validation loss stops falling.
    """
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of all steps over which `cosine` and `one_cycle` rise."""
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    """What `plateau` multiplies the learning rate by."""
    plateau_patience: int = Field(default=10, ge=0)
    """Validations without a lower loss that `plateau` waits."""
    gradient_clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 switches clipping off."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are summed before a step."""
    precision: Literal["float32", "bf16", "float16"] = "float32"
    """Arithmetic of the network; the loss is always computed in float32."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""
    devices: int | Literal["auto"] = "auto"
    """Number of processes, one per device; several train with DistributedDataParallel."""
    select: Literal["best", "last"] = "best"
    """Weights that the bundle gets: the best by validation mIoU, or those of the last epoch."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between two validations."""
    checkpoint_minutes: float | None = Field(default=None, gt=0)
    """Also save every so many minutes, in the middle of an epoch; it can go on from there."""
    patience: int | None = Field(default=None, ge=1)
    """Validations without a better mIoU after which training stops; None trains to the end."""

    @model_validator(mode="after")
    def _validated_at_all(self) -> TrainingConfig:
        if self.select == "best" and self.validate_every > self.epochs:
            raise ValueError(
                f"select=best needs a validation, but validate_every={self.validate_every} exceeds "
                f"epochs={self.epochs}; lower it or set select=last"
            )
        return self

    def ineffective(self) -> dict[str, str]:
        """Options without effect: name to the reason."""
        reasons = {}
        if self.optimizer != "sgd":
            reasons["momentum"] = f"optimizer is {self.optimizer}, not sgd"
        if self.schedule not in ("cosine", "one_cycle"):
            reasons["warmup"] = f"schedule is {self.schedule}: the learning rate does not rise"
        if self.schedule != "plateau":
            for option in ("plateau_factor", "plateau_patience"):
                reasons[option] = f"schedule is {self.schedule}, not plateau"
        return reasons
