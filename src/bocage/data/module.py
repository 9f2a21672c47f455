"""Loaders of training, validation, test and prediction patches for Lightning."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from bocage.data.augment import augment
from bocage.data.build import open_index
from bocage.data.collation import collate
from bocage.data.config import DataConfig
from bocage.data.dataset import PatchDataset
from bocage.data.hardness import Hardness
from bocage.data.index import PatchIndex
from bocage.data.loader import BatchOrder, PatchLoader, generators
from bocage.data.sampling import draw_weights
from bocage.errors import ConfigError
from bocage.modalities import CLOUDY_SERIES, SENTINEL2_MASK, get_modality
from bocage.nomenclatures import Task, get_task
from bocage.sample import Batch

_log = logging.getLogger(__name__)

_PREFETCH = 4
_STAGES = {"fit": ("train", "valid"), "validate": ("valid",), "test": ("test",)}


class PatchDataModule(LightningDataModule):
    """Batches of the patches that a `DataConfig` describes.

    The same seed gives the same order and the same augmentation, on any number of reading processes
    and ranks; a run that goes on in the middle of an epoch sees what the unbroken one would see.
    """

    def __init__(
        self, config: DataConfig, inputs: Sequence[str], tasks: Sequence[str | Task], seed: int
    ) -> None:
        super().__init__()
        self.config = config
        self.inputs = tuple(get_modality(name).name for name in inputs)
        self.tasks = tuple(get_task(name) for name in tasks)
        self._seed = seed
        self._training: PatchLoader | None = None
        self._resume: dict[str, Any] | None = None
        self._hardness: Hardness | None = None
        self._datasets: dict[str, PatchDataset] = {}

    def setup(self, stage: str) -> None:
        """Prepare the splits of Lightning's `stage`: fit, validate, test or predict.

        Training may do without validation patches; see `has_validation`.
        """
        for split in _STAGES.get(stage, ("test",)):
            optional = stage == "fit" and split == "valid"
            self.setup_split(split, labels=stage != "predict", optional=optional)
        if "train" in self._datasets and self.config.sampling.hardness and self._hardness is None:
            self._hardness = Hardness(self.count("train"))

    def setup_split(self, split: str, labels: bool = True, optional: bool = False) -> None:
        """Select the patches of train, valid or test, before any image is read.

        An unknown split column, an empty split (unless `optional`), an input that no training
        patch has and, with `labels`, a label set that no patch has are `ConfigError`s. Outside
        training a sensor may be missing altogether: that is logged, and is what masks are for.
        """
        if split in self._datasets:
            return
        config = self.config
        values = config.splits(split)
        part = self._index.select(values, config.split_column, config.domains)
        if not len(part) and not optional:
            where = f" of {', '.join(config.domains)}" if config.domains else ""
            raise ConfigError(
                f"data.{split}_splits: no patch{where} has {' or '.join(values)} in column "
                f"'{config.split_column}' of {config.index_path}."
            )
        if len(part):
            self._check_content(part, split, labels)
        self._datasets[split] = PatchDataset(part, config, self.inputs, self.tasks)

    def _check_content(self, part: PatchIndex, split: str, labels: bool) -> None:
        available = {name for name, count in part.available().items() if count}
        absent = [name for name in self.inputs if name not in available]
        message = (
            f"none of the {len(part)} patches in data.{split}_splits has %s; they have "
            f"{', '.join(sorted(available)) or 'none of what is asked for'}."
        )
        if absent and (split == "train" or len(absent) == len(self.inputs)):
            raise ConfigError(message % ", ".join(absent))
        if absent:
            _log.warning(message, ", ".join(absent))
        for label_set in sorted({task.label_set for task in self.tasks}):
            if labels and label_set not in available:
                raise ConfigError(message % label_set)

    @cached_property
    def _index(self) -> PatchIndex:
        config = self.config
        if config.index is not None and not config.index.is_file():
            raise ConfigError(
                f"data.index: no file {config.index}. Build it with 'bocage data index "
                f"{config.root} --layout {config.layout} --output {config.index}'."
            )
        names = {*self.inputs, *(task.label_set for task in self.tasks)}
        if names & CLOUDY_SERIES:
            names.add(SENTINEL2_MASK)
        return open_index(config.root, config.layout, config.index_path, names=names)

    @property
    def has_validation(self) -> bool:
        """Whether there are validation patches; after `setup("fit")`."""
        return self.count("valid") > 0

    def count(self, split: str) -> int:
        """Number of patches of a split that has been set up."""
        return len(self._datasets[split])

    def domains(self, split: str) -> tuple[str, ...]:
        """Names of the domains of a split that has been set up, sorted."""
        return self._datasets[split].index.domains

    @cached_property
    def tile_px(self) -> int:
        """Longer side of a patch on the output grid, from the first patch of a set-up split."""
        dataset = next(d for d in self._datasets.values() if len(d))
        return max(collate([dataset[0]], self.inputs, self.tasks).output_hw)

    def train_dataloader(self) -> PatchLoader:
        """Training patches in a new order every epoch, drawn as `data.sampling` says."""
        sampling = self.config.sampling
        index = self._datasets["train"].index
        # Refused before the first image is read, not at the first epoch's start.
        draw_weights(index, sampling, self.tasks)

        def weigh() -> NDArray[np.float64] | None:
            wrong = None if self._hardness is None else self._hardness.settle()
            return draw_weights(index, sampling, self.tasks, wrong)

        self._training = self._loader("train", weigh, shuffle=True, draws=sampling.draws)
        if self._resume is not None:
            self._training.load_state_dict(self._resume)
        return self._training

    def val_dataloader(self) -> PatchLoader:
        """Every validation patch, in order."""
        return self.loader("valid")

    def test_dataloader(self) -> PatchLoader:
        """Every test patch, in order."""
        return self.loader("test")

    def predict_dataloader(self) -> PatchLoader:
        """Every test patch, in order."""
        return self.loader("test")

    def loader(self, split: str) -> PatchLoader:
        """Every patch of a split that has been set up, once, in order, the ranks' shares apart."""
        return self._loader(split, None, shuffle=False)

    def _loader(
        self,
        split: str,
        weigh: Callable[[], NDArray[np.float64] | None] | None,
        *,
        shuffle: bool,
        draws: int | None = None,
    ) -> PatchLoader:
        config, trainer = self.config, self.trainer
        order = BatchOrder(
            self.count(split),
            config.batch_size,
            self._seed,
            shuffle=shuffle,
            draws=draws,
            rank=0 if trainer is None else trainer.global_rank,
            ranks=1 if trainer is None else trainer.world_size,
        )
        threads = config.num_workers if config.reads_in_threads else 0
        workers = config.num_workers - threads
        return PatchLoader(
            self._datasets[split],
            order,
            weigh,
            threads=threads,
            # Seeds the workers, each with its own numbers; torch gives each one thread.
            generator=torch.Generator().manual_seed(self._seed),
            num_workers=workers,
            collate_fn=partial(collate, inputs=self.inputs, tasks=self.tasks),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            prefetch_factor=_PREFETCH if workers else None,
            multiprocessing_context=_worker_context() if workers else None,
        )

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """The batch on the device, copied while the device still works on the last one."""
        return batch.to(device, non_blocking=True)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augmentation, in training only, on the device."""
        if self.trainer is None or not self.trainer.training or self._training is None:
            return batch
        drawn = self._training.last
        return augment(
            batch, self.config.augment, generators(self._seed, drawn.epoch, drawn.places)
        )

    @property
    def wants_errors(self) -> bool:
        """Whether training should say how well it did on each patch (`note_errors`)."""
        return self._hardness is not None

    def note_errors(self, wrong_B: Tensor) -> None:
        """Remember the share of wrong pixels of the last batch's patches, NaN where none counts."""
        if self._hardness is not None and self._training is not None:
            self._hardness.note(self._training.last.patches, wrong_B)

    def state_dict(self) -> dict[str, Any]:
        """Where in the epoch training is, and what it knows of each patch.

        Lightning restores a loader only if it has not been asked for before, which the schedule
        does; hence the loader's state is kept here.
        """
        state: dict[str, Any] = {}
        if self._training is not None:
            state["loader"] = self._training.state_dict()
        if self._hardness is not None:
            state["hardness"] = self._hardness.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, before training starts."""
        self._resume = state_dict.get("loader")
        if self._hardness is not None and "hardness" in state_dict:
            self._hardness.load_state_dict(state_dict["hardness"])


def _worker_context() -> Any:
    """Processes forked from a clean server: a fork of this one would copy GDAL's and CUDA's locks.

    The server imports the readers once, so that a worker starts in the time of a fork.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bocage.data.dataset", "bocage.data.collation"])
    return context
