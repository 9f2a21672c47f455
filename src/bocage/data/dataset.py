"""The patches of an index as a torch dataset of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch.utils.data import Dataset

from bocage.data.config import DataConfig
from bocage.data.index import PatchIndex
from bocage.data.layouts import get_layout
from bocage.data.pack.source import remote_address
from bocage.data.record import PatchRecord
from bocage.errors import ConfigError, DataError
from bocage.imagery import without_offset
from bocage.memory import keep_freed_memory
from bocage.modalities import CLOUDY_SERIES, get_modality
from bocage.nomenclatures import Task, get_task
from bocage.sample import Sample, Series
from bocage.series import usable_dates


class PatchError(DataError):
    """A patch that cannot be read, in one sentence.

    From a worker process torch makes the error anew out of the whole traceback's text; of that
    only the sentence is kept.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.rsplit(f"{PatchError.__name__}: ", 1)[-1].strip())


class PatchDataset(Dataset[Sample]):
    """Samples of an index, in its order, ready to be collated.

    Series lose the dates that saw nothing, Sentinel-2 also its cloudy ones (`DataConfig.series`);
    a series without a date left is an absent sensor. Any failure is a `PatchError` that names the
    patch and passes through worker processes.
    """

    def __init__(
        self,
        index: PatchIndex,
        config: DataConfig,
        inputs: Sequence[str],
        tasks: Sequence[str | Task],
    ) -> None:
        self.index = index
        self.config = config
        self.inputs = tuple(get_modality(name).name for name in inputs)
        self.tasks = tuple(get_task(name) for name in tasks)
        if index.layout != config.layout:
            raise ConfigError(
                f"{config.index_path}: an index of layout '{index.layout}', but data.layout is "
                f"'{config.layout}'. Correct data.layout or build the index again."
            )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Sample:
        keep_freed_memory()
        record = self.index[position]
        try:
            sample = get_layout(self.config.layout).read(
                self.config.root, record, self.inputs, self.tasks, self.config.unknown_labels
            )
            sample = self._prepare(sample)
        except DataError as error:
            raise PatchError(self._explain(record, error)) from error
        except (OSError, ValueError, LookupError, RuntimeError, MemoryError) as error:
            # What a damaged file can set off in a reading library.
            text = f"{type(error).__name__}: {error}"
            raise PatchError(
                f"patch {record.patch_id}: {text}. Check its files under {self.config.root}."
            ) from error
        return sample

    def _prepare(self, sample: Sample) -> Sample:
        series = {name: self._usable(sample, name) for name in sample.series}
        prepared = replace(sample, series=series)
        if not prepared.present and self.config.without_sensors == "refuse":
            raise DataError(
                f"patch {sample.patch_id}: no usable input. {self._absences(sample, prepared)}. "
                "Relax data.series, leave the patch out, or set data.without_sensors=allow."
            )
        return prepared

    def _usable(self, sample: Sample, name: str) -> Series:
        series = sample.series[name]
        clouds_matter = name in CLOUDY_SERIES and self.config.series.min_clear > 0
        if clouds_matter and series.snow_cloud is None and len(series):
            raise DataError(
                f"patch {sample.patch_id}: {name} has no snow and cloud mask, so its clear "
                "dates are unknown. Add SENTINEL2_MSK-SC and build the index again, or use "
                "every date with data.series.min_clear=0."
            )
        since = self.config.sentinel2_offset_from
        if since is not None and name in CLOUDY_SERIES:
            series = without_offset(series, since)
        return usable_dates(series, self.config.series)

    def _absences(self, before: Sample, after: Sample) -> str:
        parts = []
        for name in self.inputs:
            if name not in before.series:
                parts.append(f"{name}: no file")
                continue
            parts.append(f"{name}: {len(after.series[name])} of {len(before.series[name])} dates")
        return "; ".join(parts)

    def _explain(self, record: PatchRecord, error: DataError) -> str:
        wanted = {*self.inputs, *(task.label_set for task in self.tasks)}
        local = remote_address(self.config.root) is None
        for name in wanted & record.paths.keys() if local else ():
            path = record.path(self.config.root, name)
            if not path.is_file():
                return (
                    f"patch {record.patch_id}: {path} is named by {self.config.index_path} but "
                    "gone. Put it back, or rebuild the index with 'bocage data index "
                    f"{self.config.root} --layout {self.config.layout}'."
                )
        text = str(error)
        return text if record.patch_id in text else f"patch {record.patch_id}: {text}"
