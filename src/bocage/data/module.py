"""Loaders of training, validation, test and prediction patches for Lightning."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from bocage.data.augment import flip_and_turn
from bocage.data.build import open_index
from bocage.data.collation import collate
from bocage.data.config import DataConfig
from bocage.data.dataset import PatchDataset
from bocage.data.index import PatchIndex
from bocage.errors import ConfigError
from bocage.modalities import SENTINEL2_MASK, SENTINEL2_TS, get_modality
from bocage.nomenclatures import get_task
from bocage.sample import Batch, Sample

_log = logging.getLogger(__name__)

_PREFETCH = 4
_STAGES = {"fit": ("train", "valid"), "validate": ("valid",), "test": ("test",)}


class PatchDataModule(LightningDataModule):
    """Batches of the patches that a `DataConfig` describes.

    The same seed gives the same order and the same flips and turns; both are kept in checkpoints.
    """

    def __init__(
        self, config: DataConfig, inputs: Sequence[str], tasks: Sequence[str], seed: int
    ) -> None:
        super().__init__()
        self.config = config
        self.inputs = tuple(get_modality(name).name for name in inputs)
        self.tasks = tuple(get_task(name).name for name in tasks)
        self._seed = seed
        self._order = torch.Generator().manual_seed(seed)
        self._turns = torch.Generator().manual_seed(seed + 1)
        self._datasets: dict[str, PatchDataset] = {}

    def setup(self, stage: str) -> None:
        """Prepare the splits of Lightning's `stage`: fit, validate, test or predict.

        Training may do without validation patches; see `has_validation`.
        """
        for split in _STAGES.get(stage, ("test",)):
            optional = stage == "fit" and split == "valid"
            self.setup_split(split, labels=stage != "predict", optional=optional)
        # The order is the distributed sampler's; the turns must differ from rank to rank too.
        if self.trainer is not None and self.trainer.global_rank:
            self._turns.manual_seed(self._seed + 1 + self.trainer.global_rank)

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
        for label_set in sorted({get_task(task).label_set for task in self.tasks}):
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
        names = {*self.inputs, *(get_task(task).label_set for task in self.tasks)}
        if SENTINEL2_TS.name in names:
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

    def train_dataloader(self) -> DataLoader[Sample]:
        """Training patches in a new order every epoch."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every validation patch, in order."""
        return self.loader("valid")

    def test_dataloader(self) -> DataLoader[Sample]:
        """Every test patch, in order."""
        return self.loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Every test patch, in order."""
        return self.loader("test")

    def loader(self, split: str, shuffle: bool = False) -> DataLoader[Sample]:
        """Batches (`Batch`) of a split that has been set up; the last one may be smaller."""
        workers = self.config.num_workers
        return DataLoader(
            self._datasets[split],
            batch_size=self.config.batch_size,
            shuffle=shuffle,
            # Also seeds the workers, each with its own numbers; torch gives each one thread.
            generator=self._order,
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
        """Flips and turns, in training only, on the device."""
        training = self.trainer is not None and self.trainer.training
        if training and self.config.flips_and_turns:
            return flip_and_turn(batch, self._turns)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The state of both random generators, for a resumed run."""
        return {"order": self._order.get_state(), "turns": self._turns.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._order.set_state(state_dict["order"].cpu())
        self._turns.set_state(state_dict["turns"].cpu())


def _worker_context() -> Any:
    """Processes forked from a clean server: a fork of this one would copy GDAL's and CUDA's locks.

    The server imports the readers once, so that a worker starts in the time of a fork.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bocage.data.dataset", "bocage.data.collation"])
    return context
