"""The published FLAIR-HUB network, tensor for tensor, behind the behaviour of `bocage`'s own.

Names, order and shapes of its `state_dict` are those of the published checkpoints. Two quirks of
the original stay because trained weights depend on them: temporal maps meet the other sensors'
levels in reverse order (the deepest joins the finest), and logits from series alone have passed
a ReLU. A third does not: here a sample's result never depends on its batch neighbours or padding.

Shapes: B samples, T dates, K classes, C channels, H x W label pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bocage.errors import DataError, unknown_name
from bocage.models.layers import to_channels_last
from bocage.models.network import NetworkOutput
from bocage.models.published.config import PublishedConfig
from bocage.models.published.decoder import ImageDecoder
from bocage.models.published.encoders import ImageEncoder
from bocage.models.published.fusion import FusionHandler, Levels, beside
from bocage.models.published.layers import resize
from bocage.models.published.preparation import PublishedPreparation, pack_frames
from bocage.models.published.utae import UTAE, Frames


class PublishedNetwork(nn.Module):
    """Maps of classes from exactly the sensors that it was trained on.

    `load_pretrained=False` leaves out encoder weights that the configuration asks for, because
    others follow (a checkpoint's).
    """

    def __init__(self, config: PublishedConfig, load_pretrained: bool = True):
        super().__init__()
        self.config = config
        arch = config.arch
        load = load_pretrained and config.weights == "pretrained"
        images = {
            given.modality: ImageEncoder(
                arch, len(given.channel_names), config.size_px(given), load
            )
            for given in config.images
        }
        series = {
            given.modality: UTAE(
                len(given.channel_names), *config.series_widths, config.series_head
            )
            for given in config.series
        }
        self.preparation = nn.ModuleDict(
            {given.modality: PublishedPreparation(given) for given in config.inputs}
        )
        self.encoders = nn.ModuleDict({**images, **series})
        self.fusion_handler = self._fusion(images, series)
        widths = next(iter(images.values())).widths if images else ()
        self.main_decoders = nn.ModuleDict(
            {t.name: self._decoder(bool(images), widths, t.num_classes) for t in config.tasks}
        )
        self.aux_decoders = nn.ModuleDict(
            {
                f"{name}__{task.name}": self._decoder(name in images, widths, task.num_classes)
                for task in config.tasks
                for name in self.encoders
                if name in config.auxiliary
            }
        )
        for name, parameter in self.named_parameters():
            if name.startswith(idle_prefixes(config)):
                # Nothing depends on them: a gradient would never come, and processes that train
                # together would wait for it.
                parameter.requires_grad_(False)
        to_channels_last(self)

    def _fusion(
        self, images: Mapping[str, ImageEncoder], series: Mapping[str, UTAE]
    ) -> FusionHandler:
        if not images:
            return FusionHandler([1], [1])
        stages = self.config.arch.stages
        per_sensor = [
            # The image itself is a stage where the backbone starts at half size.
            (len(given.channel_names), *images[given.modality].widths)[-stages:]
            for given in self.config.images
        ]
        per_sensor += [utae.widths for utae in series.values()]
        return FusionHandler([sum(each) for each in zip(*per_sensor, strict=True)], per_sensor[0])

    def _decoder(self, image: bool, widths: Sequence[int], num_classes: int) -> nn.Module:
        if image:
            return ImageDecoder(self.config.arch.decoder, widths, num_classes)
        return nn.Conv2d(self.config.total_classes, num_classes, 1)

    def forward(
        self,
        images: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        series: Mapping[str, Tensor],
        series_valid: Mapping[str, Tensor],
        days: Mapping[str, Tensor],
        dates_present: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        output_hw: tuple[int, int],
    ) -> NetworkOutput:
        """Logits of every task on a label grid of `output_hw` pixels, as of `bocage`'s own network.

        Every sample must have every sensor (`DataError`): these networks know no absence.
        """
        usable = {}
        for given in self.config.series:
            name = given.modality
            if name in series:
                usable[name] = dates_present[name]
                if name in series_valid:
                    usable[name] = usable[name] & series_valid[name].flatten(2).any(2)
        dense = torch.compiler.is_exporting() or torch.compiler.is_compiling()
        if not dense:
            self._refuse_absence(images, usable, present)
        prepared = {}
        for given in self.config.images:
            name = given.modality
            image_BCHW, _ = self.preparation[name](images[name], valid.get(name))
            prepared[name] = image_BCHW.contiguous(memory_format=torch.channels_last)
        frames = {
            name: pack_frames(
                self.preparation[name], series[name], series_valid.get(name), days[name],
                usable[name], dense,
            )
            for name in usable
        }  # fmt: skip
        logits, auxiliary = self.compute(prepared, frames, output_hw, with_auxiliary=self.training)
        everyone = {name: present[name] for name in auxiliary}
        return NetworkOutput(logits, auxiliary, everyone)

    def _refuse_absence(
        self,
        images: Mapping[str, Tensor],
        usable: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
    ) -> None:
        flags = {}
        for given in self.config.inputs:
            name = given.modality
            if name not in present:
                raise DataError(unknown_name("sensor of this batch, wanted by the network,", name,
                                             present))  # fmt: skip
            flags[name] = present[name]
            if name in usable:
                flags[name] = flags[name] & usable[name].any(1)
        # One transfer for all sensors: each costs a wait for the GPU.
        for name, row in zip(flags, torch.stack(list(flags.values())).tolist(), strict=True):
            lacking = row.count(False)
            if lacking or (name not in images and name not in usable):
                raise DataError(
                    f"input {name}: absent from {lacking or len(row)} of {len(row)} samples (or "
                    "without a usable date), and published networks know no absence. Leave such "
                    "patches out, or use a network whose inputs are all there."
                )

    def compute(
        self,
        images: Mapping[str, Tensor],
        series: Mapping[str, Frames],
        output_hw: tuple[int, int],
        with_auxiliary: bool = False,
    ) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
        """Logits by task, and by sensor and task, (B, K, H, W) float32, from prepared inputs."""
        levels: dict[str, Levels] = {}
        sizes: dict[str, tuple[int, int]] = {}
        for name, image in images.items():
            encoder = self.encoders[name]
            assert isinstance(encoder, ImageEncoder)
            sizes[name] = (image.shape[-2], image.shape[-1])
            encoder.check_size(name, *sizes[name])
            levels[name] = encoder(image)
        logits: dict[str, Tensor] = {}
        for name, frames in series.items():
            utae = self.encoders[name]
            assert isinstance(utae, UTAE)
            maps = utae(frames)
            if images:
                first = next(iter(levels.values()))
                levels[name] = beside(maps, first)
            if not images or (with_auxiliary and name in self.config.auxiliary):
                logits[name] = utae.logits(maps)

        auxiliary: dict[str, dict[str, Tensor]] = {}
        for name in self.config.auxiliary if with_auxiliary else ():
            auxiliary[name] = {}
            for task in self.config.tasks:
                decoder = self.aux_decoders[f"{name}__{task.name}"]
                own = (
                    decoder(levels[name], sizes[name]) if name in images else decoder(logits[name])
                )
                auxiliary[name][task.name] = resize(own.float(), output_hw)
        if not images:
            return self._from_series(list(logits.values()), output_hw), auxiliary
        one = next(iter(images))
        fused = self.fusion_handler(list(levels.values())) if len(levels) > 1 else levels[one]
        return {
            task: resize(decoder(fused, sizes[one]).float(), output_hw)
            for task, decoder in self.main_decoders.items()
        }, auxiliary

    def _from_series(
        self, logits: Sequence[Tensor], output_hw: tuple[int, int]
    ) -> dict[str, Tensor]:
        """The sensors' mean; one task takes it as it is, several each through a convolution."""
        if any(x.shape[-2:] != logits[0].shape[-2:] for x in logits):
            logits = [resize(x, output_hw) for x in logits]
        mean = torch.stack(list(logits)).mean(0)
        if len(self.main_decoders) == 1:
            return {task: resize(mean.float(), output_hw) for task in self.main_decoders}
        # A 1x1 convolution and an enlargement may change places; this order does less.
        return {
            task: resize(decoder(mean).float(), output_hw)
            for task, decoder in self.main_decoders.items()
        }


def idle_prefixes(config: PublishedConfig) -> tuple[str, ...]:
    """Beginnings of the names of parameters that checkpoints hold and nothing uses."""
    idle = []
    if len(config.inputs) == 1 or not config.images:
        idle.append("fusion_handler.")
    elif config.arch.stages == 6:
        idle.append("fusion_handler.conv_f.0.")
    if not config.images:
        return (*idle, "main_decoders.") if len(config.tasks) == 1 else tuple(idle)
    series = (given.modality for given in config.series)
    idle += [f"encoders.{name}.out_conv." for name in series if name not in config.auxiliary]
    if config.arch.decoder == "upernet":
        tasks = [task.name for task in config.tasks]
        decoders = [f"main_decoders.{task}" for task in tasks]
        decoders += [f"aux_decoders.{name}__{t}" for name in config.auxiliary for t in tasks]
        idle += [f"{decoder}.seg_model.decoder.fpn_stages.4." for decoder in decoders]
    return tuple(idle)
