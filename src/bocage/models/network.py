"""The assembled network: an encoder per sensor, fusion per pyramid level, a decoder per task.

Shapes: B samples, T dates, C bands, K classes, H x W pixels of a sensor's or the label's own grid,
N samples that have a sensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bocage.errors import ConfigError, DataError, unknown_name
from bocage.models.absence import hide_sensors
from bocage.models.config import NetworkConfig
from bocage.models.decoders import DECODERS, AuxiliaryHead
from bocage.models.detail import Detail
from bocage.models.encoders import Encoder, build_encoder
from bocage.models.fusion import Fusion, SensorMaps
from bocage.models.inputs import Preparation
from bocage.models.layers import cells, take_rows, to_channels_last
from bocage.models.temporal import TemporalEncoder


class NetworkOutput(NamedTuple):
    """What the network says about a batch."""

    logits: dict[str, Tensor]
    """Task to (B, K, H, W) float32 on the label grid."""
    auxiliary: dict[str, dict[str, Tensor]]
    """Sensor to task to (B, K, h, w) float32 on the finest level's grid. Training only; a sensor
    that no sample has is left out."""
    auxiliary_present: dict[str, Tensor]
    """Sensor to (B,) bool: samples whose auxiliary logits mean something."""


class Network(nn.Module):
    """Maps of classes from any subset of its sensors.

    `load_pretrained=False` leaves out encoder weights that the configuration asks for, because
    others follow (a bundle's).
    """

    def __init__(self, config: NetworkConfig, load_pretrained: bool = True):
        super().__init__()
        self.config = config
        encoders: dict[str, Encoder | TemporalEncoder] = {}
        for given in config.inputs:
            name, bands = given.modality, len(given.channel_names)
            if given.spec.series:
                encoders[name] = TemporalEncoder(config.temporal, bands)
            else:
                encoders[name] = build_encoder(
                    config.encoder_of(name), given.channel_names, load_pretrained
                )
        self.level_strides_m = pyramid_strides(
            tuple(stride * given.pixel_m for stride in encoders[given.modality].strides)
            for given in config.inputs
        )
        levels = len(self.level_strides_m)
        widths = {name: encoder.channels for name, encoder in encoders.items()}
        heads = {task.name: task.num_classes for task in config.tasks}
        decoder = DECODERS[config.decoder.name]
        level_widths = [config.fusion.width] * levels

        self.preparation = nn.ModuleDict({c.modality: Preparation(c) for c in config.inputs})
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = Fusion(config.fusion, widths, levels)
        self.detail: Detail | None = None
        if config.decoder.takes_detail:
            self.detail = self._build_detail()
            level_widths.insert(0, config.decoder.detail_width)
        self.decoders = nn.ModuleDict(
            {
                task: decoder(config.decoder, level_widths, classes)
                for task, classes in heads.items()
            }
        )
        self.auxiliary = nn.ModuleDict()
        if config.auxiliary.enabled:
            for name, own in widths.items():
                self.auxiliary[name] = AuxiliaryHead(config.auxiliary.width, own, heads)
        to_channels_last(self)

    def _build_detail(self) -> Detail:
        config = self.config
        cell_m, finest_m = config.detail_m, self.level_strides_m[0]
        if cell_m > finest_m * (1 - 1e-6):
            raise ConfigError(
                f"decoder '{config.decoder.name}': its cells of {cell_m:g} m are no finer than the "
                f"{finest_m:g} m that the encoders give. Use upernet, or a smaller detail_stride."
            )
        sensors = {given.modality: len(given.channel_names) for given in config.detail_inputs}
        stride = max(1, math.floor(cell_m / config.detail_inputs[0].pixel_m + 1e-6))
        return Detail(config.fusion.name, config.decoder.detail_width, sensors, stride)

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
        """Logits of every task on a label grid of `output_hw` pixels.

        The mappings are those of `bocage.sample.Batch`, values as stored. Sensors that the network
        does not know are not looked at; `present` must have an entry for each that it knows.
        All sensors of a sample cover the same ground, output_hw x output_resolution_m.
        """
        dense = torch.compiler.is_exporting() or (
            torch.compiler.is_compiling() and not self.training
        )
        here = self._present(valid, series_valid, dates_present, present)
        batch = next(iter(here.values())).shape[0]
        rolls = self._everyone(here, images, series) if dense else self._roll_call(here)
        sensors: dict[str, SensorMaps | None] = {}
        for name, roll in rolls.items():
            if roll is None:
                sensors[name] = None
            elif name in series:
                sensors[name] = self._encode_series(
                    name, roll, series[name], series_valid.get(name), days[name],
                    dates_present[name], dense,
                )  # fmt: skip
            elif name in images:
                sensors[name] = self._encode_image(name, roll, images[name], valid.get(name))
            else:
                raise DataError(f"input {name}: said to be present, but the batch has no values")

        sizes = [self._level_size(output_hw, stride_m) for stride_m in self.level_strides_m]
        pyramid = self.fusion(sensors, sizes, batch)
        if self.detail is not None:
            fine = self._level_size(output_hw, self.config.detail_m)
            pyramid.insert(0, self.detail(sensors, fine, batch))
        if self.training and torch.is_grad_enabled():
            pyramid[-1] = pyramid[-1] + self._tie(sensors)
        logits = {task: decode(pyramid, output_hw) for task, decode in self.decoders.items()}
        return NetworkOutput(logits, *self._auxiliary_outputs(sensors, sizes[0], batch))

    def _present(
        self,
        valid: Mapping[str, Tensor],
        series_valid: Mapping[str, Tensor],
        dates_present: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Which samples really have each sensor, (B,) bool: at least one pixel on one date."""
        here = {}
        for given in self.config.inputs:
            name = given.modality
            if name not in present:
                raise DataError(unknown_name("sensor of this batch, wanted by the network,", name,
                                             present))  # fmt: skip
            flags = present[name]
            if name in dates_present:
                usable_BT = dates_present[name]
                if name in series_valid:
                    usable_BT = usable_BT & series_valid[name].flatten(2).any(2)
                flags = flags & usable_BT.any(1)
            elif name in valid:
                flags = flags & valid[name].flatten(1).any(1)
            here[name] = flags
        return here

    @staticmethod
    def _everyone(
        here: Mapping[str, Tensor], images: Mapping[str, Tensor], series: Mapping[str, Tensor]
    ) -> dict[str, _Roll | None]:
        """Every sample takes part, under a mask: fixed shapes for export and compilation."""
        return {
            name: _Roll(None, flags) if name in images or name in series else None
            for name, flags in here.items()
        }

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def _roll_call(self, here: Mapping[str, Tensor]) -> dict[str, _Roll | None]:
        """Only the samples that have a sensor take part, some hidden from it in training."""
        device = next(iter(here.values())).device
        # One transfer for all sensors: each costs a wait for the GPU.
        present_BM = torch.stack(list(here.values()), dim=1).cpu()
        if self.training:
            chances = [self.config.sensor_dropout.get(name, 0.0) for name in here]
            present_BM = hide_sensors(present_BM, chances)
        rolls: dict[str, _Roll | None] = {}
        for name, flags in zip(here, present_BM.unbind(1), strict=True):
            if flags.all():
                rolls[name] = _Roll(None, None)
            elif flags.any():
                rolls[name] = _Roll(flags.nonzero().squeeze(1).to(device), None)
            else:
                rolls[name] = None
        return rolls

    def _encode_image(
        self, name: str, roll: _Roll, raw_BCHW: Tensor, valid_BHW: Tensor | None
    ) -> SensorMaps:
        if roll.rows is not None:
            raw_BCHW = take_rows(raw_BCHW, roll.rows)
            valid_BHW = None if valid_BHW is None else valid_BHW[roll.rows]
        image_NCHW, _ = self.preparation[name](raw_BCHW, valid_BHW)
        image_NCHW = image_NCHW.contiguous(memory_format=torch.channels_last)
        known = None if roll.mask is None else roll.mask.view(-1, 1, 1, 1)
        fine = None if self.detail is None else self.detail.see(name, image_NCHW)
        return SensorMaps(self.encoders[name](image_NCHW), roll.rows, known, fine)

    def _encode_series(
        self,
        name: str,
        roll: _Roll,
        raw_BTCHW: Tensor,
        valid_BTHW: Tensor | None,
        days_BT: Tensor,
        dates_BT: Tensor,
        dense: bool,
    ) -> SensorMaps:
        if valid_BTHW is None:
            valid_BTHW = dates_BT[..., None, None].expand(*dates_BT.shape, *raw_BTCHW.shape[-2:])
        else:
            valid_BTHW = valid_BTHW & dates_BT[..., None, None]
        if roll.rows is not None:
            raw_BTCHW = take_rows(raw_BTCHW, roll.rows)
            valid_BTHW, days_BT = valid_BTHW[roll.rows], days_BT[roll.rows]
        frames, valid = raw_BTCHW.flatten(0, 1), valid_BTHW.flatten(0, 1)
        slots = None
        if not dense:
            slots = valid.flatten(1).any(1).nonzero().squeeze(1)
            if len(slots) == len(frames):
                slots = None
            else:
                frames, valid = take_rows(frames, slots), valid[slots]
        frames_NCHW, known_NHW = self.preparation[name](frames, valid)
        frames_NCHW = frames_NCHW.contiguous(memory_format=torch.channels_last)
        values, known = self.encoders[name](frames_NCHW, known_NHW, days_BT, slots)
        if roll.mask is not None:
            known = known & roll.mask.view(-1, 1, 1, 1)
        return SensorMaps([values], roll.rows, known)

    def _level_size(self, output_hw: tuple[int, int], stride_m: float) -> tuple[int, int]:
        """Cells of a level that cover the label grid; a rounding error adds none."""
        stride = stride_m / self.config.output_resolution_m
        height, width = (cells(pixels, stride) for pixels in output_hw)
        return height, width

    def _tie(self, sensors: Mapping[str, SensorMaps | None]) -> Tensor:
        """A zero that depends on every parameter that this batch has no use for.

        Processes that train together must agree on which parameters have a gradient, whatever
        sensors their own batch happens to lack.
        """
        idle: list[nn.Module] = [self.fusion]
        if self.detail is not None:
            idle.append(self.detail)
        for name, sensor in sensors.items():
            if sensor is None:
                idle.append(self.encoders[name])
                if name in self.auxiliary:
                    idle.append(self.auxiliary[name])
        parameters = (p for module in idle for p in module.parameters() if p.requires_grad)
        return torch.stack([p[(0,) * p.ndim] * 0.0 for p in parameters]).sum()

    def _auxiliary_outputs(
        self, sensors: Mapping[str, SensorMaps | None], size: tuple[int, int], batch: int
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
        outputs: dict[str, dict[str, Tensor]] = {}
        masks: dict[str, Tensor] = {}
        if not self.training:
            return outputs, masks
        for name, head in self.auxiliary.items():
            sensor = sensors[name]
            if sensor is None:
                continue
            outputs[name] = head(sensor.maps, size)
            device = sensor.maps[0].device
            masks[name] = torch.ones(batch, dtype=torch.bool, device=device)
            if sensor.rows is not None:
                masks[name] = torch.zeros_like(masks[name]).index_fill(0, sensor.rows, True)
                outputs[name] = {
                    task: own.new_zeros(batch, *own.shape[1:]).index_copy(0, sensor.rows, own)
                    for task, own in outputs[name].items()
                }
        return outputs, masks


class _Roll(NamedTuple):
    """Who takes part in one sensor's encoding."""

    rows: Tensor | None
    """(N,) int64, None for all."""
    mask: Tensor | None
    """(B,) bool: whose result counts, None for all."""


def pyramid_strides(strides_m: Iterable[Sequence[float]]) -> tuple[float, ...]:
    """Ground size of a cell on each level, finest first, from the maps of every sensor.

    The sensor with the finest map sets them; octaves are added until there are as many levels as
    any sensor has maps.

    >>> pyramid_strides([(0.8, 1.6, 3.2, 6.4), (10.24,)]), pyramid_strides([(10.0,), (6.0, 12.0)])
    ((0.8, 1.6, 3.2, 6.4), (6.0, 12.0))
    >>> pyramid_strides([(10.0,), (40.0, 80.0)])
    (10.0, 20.0)
    """
    every = list(strides_m)
    finest = min(own[0] for own in every)
    longest = max((own for own in every if own[0] == finest), key=len)
    levels = list(longest)
    while len(levels) < max(len(own) for own in every):
        levels.append(levels[-1] * 2)
    return tuple(levels)
