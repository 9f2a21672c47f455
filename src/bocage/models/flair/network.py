"""The baselines' network: a U-Net, to whose levels metadata and a series add what they know.

ResNet-34, decoder and head are those of the published U-Nets (as in segmentation-models-pytorch),
so are U-TAE's blocks. What a sample lacks adds nothing to it, and no sample sees another.

Shapes: B samples, N samples that have the series, T dates, K classes, C channels, H x W label
pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bocage.errors import DataError, unknown_name
from bocage.models.absence import hide_sensors
from bocage.models.flair.config import FlairConfig
from bocage.models.flair.fusion import Grid
from bocage.models.flair.metadata import MetadataBranch
from bocage.models.flair.series import Seen, SeriesBranch, usable_dates
from bocage.models.inputs import Preparation
from bocage.models.layers import to_channels_last
from bocage.models.network import NetworkOutput
from bocage.models.published.config import COARSEST_STRIDE, get_architecture
from bocage.models.published.encoders import ImageEncoder
from bocage.models.published.unet import PixelHead, UNet

STRIDES = (2, 4, 8, 16, 32)
"""Label pixels per cell of the encoder's levels."""


class FlairNetwork(nn.Module):
    """Maps of classes from stacked photographs, with or without metadata and series.

    `load_pretrained=False` leaves out encoder weights that the configuration asks for, because
    others follow (a bundle's).
    """

    def __init__(self, config: FlairConfig, load_pretrained: bool = True):
        super().__init__()
        self.config = config
        bands = sum(len(given.channel_names) for given in config.images)
        prepared = (*config.images, *([config.series] if config.series else []))
        self.preparation = nn.ModuleDict({c.modality: Preparation(c) for c in prepared})
        load = load_pretrained and config.weights == "pretrained"
        self.encoder = ImageEncoder(get_architecture("resnet34-unet"), bands, COARSEST_STRIDE, load)
        self.decoder = UNet(self.encoder.widths)
        self.segmentation_heads = nn.ModuleDict(
            {task.name: PixelHead(task.num_classes) for task in config.tasks}
        )
        self.metadata = MetadataBranch(self.encoder.widths[-1]) if config.metadata else None
        heads = {t.name: t.num_classes for t in config.tasks} if config.has_auxiliary else {}
        self.series = (
            SeriesBranch(config.series, self.encoder.widths, heads) if config.series else None
        )
        to_channels_last(self)

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

        Every sample must have every photograph (`DataError`), of `output_hw` pixels; metadata and
        series may be absent from any.
        """
        dense = torch.compiler.is_exporting() or (
            torch.compiler.is_compiling() and not self.training
        )
        self._check_present(present)
        if not dense:
            self._refuse_absence(images, present)
        levels = self.encoder(self._stacked(images, valid, output_hw))
        resolution_m = self.config.output_resolution_m
        patch_m = (output_hw[0] * resolution_m, output_hw[1] * resolution_m)
        grids = [
            Grid((level.shape[-2], level.shape[-1]), stride * resolution_m, patch_m)
            for level, stride in zip(levels, STRIDES, strict=True)
        ]

        here = self._taking_part(series, series_valid, dates_present, present)
        idle: list[nn.Module] = []
        if self.metadata is not None and self.config.metadata is not None:
            name = self.config.metadata.modality
            if name in images:
                levels[-1] = levels[-1] + self.metadata(images[name], here[name])
            else:
                idle.append(self.metadata)
        auxiliary: dict[str, dict[str, Tensor]] = {}
        masks: dict[str, Tensor] = {}
        if self.series is not None and self.config.series is not None:
            name = self.config.series.modality
            rows = None if dense else _rows(here[name])
            if name in series and (rows is None or len(rows)):
                seen = Seen(
                    series[name], series_valid[name], days[name], dates_present[name], here[name]
                )
                added, own = self.series(self.preparation[name], seen, grids, rows, dense)
                levels = [level + add for level, add in zip(levels, added, strict=True)]
                if own:
                    auxiliary[name], masks[name] = own, here[name]
            else:
                idle.append(self.series)
        if idle and self.training and torch.is_grad_enabled():
            levels[-1] = levels[-1] + _zero_of(idle)

        height, width = output_hw
        decoded = self.decoder(levels, output_hw)
        logits = {
            task: head(decoded)[..., :height, :width].float()
            for task, head in self.segmentation_heads.items()
        }
        return NetworkOutput(logits, auxiliary, masks)

    def _check_present(self, present: Mapping[str, Tensor]) -> None:
        for given in self.config.inputs:
            if given.modality not in present:
                raise DataError(
                    unknown_name(
                        "sensor of this batch, wanted by the network,", given.modality, present
                    )
                )

    def _refuse_absence(self, images: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
        flags = torch.stack([present[given.modality] for given in self.config.images]).tolist()
        for given, row in zip(self.config.images, flags, strict=True):
            lacking = row.count(False)
            if lacking or given.modality not in images:
                raise DataError(
                    f"input {given.modality}: absent from {lacking or len(row)} of {len(row)} "
                    "samples, but the baselines stack all their photographs. Leave such patches "
                    "out, or use a network that knows absence."
                )

    def _stacked(
        self,
        images: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        output_hw: tuple[int, int],
    ) -> Tensor:
        """All photographs' channels (B, C, H', W'), the last row and column repeated at the lower
        and right border up to multiples of the coarsest stride."""
        prepared = []
        for given in self.config.images:
            name = given.modality
            raw_BCHW = images[name]
            if tuple(raw_BCHW.shape[-2:]) != tuple(output_hw):
                raise DataError(
                    f"input {name}: {raw_BCHW.shape[-2]} x {raw_BCHW.shape[-1]} px for labels of "
                    f"{output_hw[0]} x {output_hw[1]} px; the baselines take photographs on the "
                    "label grid."
                )
            prepared.append(self.preparation[name](raw_BCHW, valid.get(name))[0])
        stack_BCHW = torch.cat(prepared, dim=1)
        below, beside = (-side % COARSEST_STRIDE for side in output_hw)
        if below or beside:
            stack_BCHW = F.pad(stack_BCHW, (0, beside, 0, below), mode="replicate")
        return stack_BCHW.contiguous(memory_format=torch.channels_last)

    def _taking_part(
        self,
        series: Mapping[str, Tensor],
        series_valid: Mapping[str, Tensor],
        dates_present: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Which samples have each input, (B,) bool: of a series at least one pixel on one date."""
        here = dict(present)
        if self.config.series is not None and self.config.series.modality in series:
            name = self.config.series.modality
            here[name] = here[name] & usable_dates(dates_present[name], series_valid[name]).any(1)
        if self.training and any(self.config.sensor_dropout.values()):
            here = self._hide(here)
        return here

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def _hide(self, here: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Metadata and series hidden from some samples, by the configured chances."""
        names = [given.modality for given in self.config.inputs]
        flags_BM = torch.stack([here[name] for name in names], dim=1)
        chances = [self.config.sensor_dropout.get(name, 0.0) for name in names]
        kept_BM = hide_sensors(flags_BM.cpu(), chances).to(flags_BM.device)
        return dict(zip(names, kept_BM.unbind(1), strict=True))


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
def _rows(here_B: Tensor) -> Tensor | None:
    """Positions of the samples that take part, None for all."""
    return None if here_B.all() else here_B.nonzero().squeeze(1)


def _zero_of(idle: Iterable[nn.Module]) -> Tensor:
    """A zero that depends on every parameter that this batch has no use for.

    Processes that train together must agree on which parameters have a gradient, whatever their
    own batch happens to lack.
    """
    parameters = (p for module in idle for p in module.parameters() if p.requires_grad)
    return torch.stack([p[(0,) * p.ndim] * 0.0 for p in parameters]).sum()
