"""U-T&T's second branch: U-TAE over a series of the patch and its surroundings.

Shapes: B samples, N samples that take part, T dates, K classes, C channels, h x w pixels of the
series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from bocage.errors import DataError
from bocage.models.flair.fusion import Collapsed, Cropped, Grid, above_patch
from bocage.models.flair.utae import WIDTHS, SuperpatchUTAE, check_size
from bocage.models.inputs import InputConfig
from bocage.models.layers import take_rows
from bocage.models.published.preparation import pack_frames

AUXILIARY_LEVEL = 1
"""Level of the U-Net on whose grid the series' own logits are given: cells of 0.8 m."""


class Seen(NamedTuple):
    """A series as it stands in a batch."""

    values_BTCHW: Tensor
    """As stored."""
    valid_BTHW: Tensor
    """False for pixels without data."""
    days_BT: Tensor
    """Day offsets."""
    dates_BT: Tensor
    """False for padding."""
    here_B: Tensor
    """Samples that take part."""

    def take(self, rows: Tensor) -> Seen:
        """The series of some samples."""
        return Seen(*(take_rows(part, rows) for part in self))


def usable_dates(dates_BT: Tensor, valid_BTHW: Tensor) -> Tensor:
    """Dates of which at least one pixel was seen, (B, T) bool."""
    return dates_BT & valid_BTHW.flatten(2).any(2)


class SeriesBranch(nn.Module):
    """What the series adds to the U-Net's levels, of `widths` channels, and its own logits.

    `heads` counts the classes of every task that is predicted from the series alone.
    """

    def __init__(self, given: InputConfig, widths: Sequence[int], heads: Mapping[str, int]):
        super().__init__()
        self.name = given.modality
        self.pixel_m = given.pixel_m
        self.utae = SuperpatchUTAE(len(given.channel_names))
        self.cropped = Cropped(WIDTHS[0], widths)
        self.collapsed = Collapsed(WIDTHS[0], widths)
        self.heads = nn.ModuleDict(
            {task: nn.Conv2d(WIDTHS[0], classes, 1) for task, classes in heads.items()}
        )

    def forward(
        self,
        preparation: nn.Module,
        seen: Seen,
        grids: Sequence[Grid],
        rows: Tensor | None,
        dense: bool,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Per level what is added, (B, widths[i], *grids[i].size), and logits by task in training.

        `rows` (N,) are the samples that take part, None: all of them. With `dense` every sample is
        computed, in shapes that do not depend on what is there, and masked. Nothing is added to a
        sample that takes no part; its logits mean nothing.
        """
        self._check_ground(seen.values_BTCHW, grids[0])
        batch, here_B = seen.here_B.shape[0], seen.here_B
        if rows is not None:
            seen = seen.take(rows)
        dates_NT = usable_dates(seen.dates_BT, seen.valid_BTHW)
        frames = pack_frames(
            preparation, seen.values_BTCHW, seen.valid_BTHW, seen.days_BT, dates_NT, dense
        )
        map_NCHW = self.utae(frames)
        known_NHW = (seen.valid_BTHW & seen.dates_BT[..., None, None]).any(1)
        near = self.cropped(map_NCHW, self.pixel_m, grids)
        around = self.collapsed(map_NCHW, known_NHW)
        added = [one + other for one, other in zip(near, around, strict=True)]
        own: dict[str, Tensor] = {}
        if self.training:
            grid = grids[AUXILIARY_LEVEL]
            for task, head in self.heads.items():
                own[task] = above_patch(head(map_NCHW), self.pixel_m, grid).float()
        if dense:
            absent = ~here_B.view(-1, 1, 1, 1)
            added = [part.masked_fill(absent, 0.0) for part in added]
        elif rows is not None:
            added = [_placed(part, rows, batch) for part in added]
            own = {task: _placed(part, rows, batch) for task, part in own.items()}
        return added, own

    def _check_ground(self, values_BTCHW: Tensor, grid: Grid) -> None:
        height, width = values_BTCHW.shape[-2:]
        check_size(self.name, height, width)
        ground_m = (height * self.pixel_m, width * self.pixel_m)
        if any(patch > own for patch, own in zip(grid.patch_m, ground_m, strict=True)):
            raise DataError(
                f"input {self.name}: covers {ground_m[0]:g} x {ground_m[1]:g} m, less than the "
                f"patch of {grid.patch_m[0]:g} x {grid.patch_m[1]:g} m. It must hold the patch in "
                "its middle."
            )


def _placed(part_NCHW: Tensor, rows: Tensor, batch: int) -> Tensor:
    """The samples that take part at their places in the batch, zeros elsewhere."""
    return part_NCHW.new_zeros(batch, *part_NCHW.shape[1:]).index_copy(0, rows, part_NCHW)
