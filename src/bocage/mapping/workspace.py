"""The output folder while a map is being made: the plan, finished blocks, and how a run resumes.

`OUT/blocks/plan.json` says what is being mapped, from what and how; `OUT/blocks/000012.json`,
written last, says that the files of block 12 are complete. A run with the same plan skips complete
blocks. A finished map is `OUT/<layer>.tif` and `OUT/report.json`; `blocks` is then removed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bocage.errors import ConfigError, DataError
from bocage.files import write_json
from bocage.mapping.plan import Block
from bocage.mapping.report import MapReport

REPORT = "report.json"
_PLAN = "plan.json"


@dataclass(frozen=True)
class Workspace:
    """One map's output folder; make it with `open_workspace`."""

    out: Path

    @property
    def folder(self) -> Path:
        """Where the blocks lie."""
        return self.out / "blocks"

    def block_file(self, block: Block, stem: str) -> Path:
        """The file of one layer of one block."""
        return self.folder / f"{block.index:06d}_{stem}.tif"

    def map_file(self, stem: str) -> Path:
        """The finished file of one layer."""
        return self.out / f"{stem}.tif"

    def network_file(self, weights: str, window_px: int) -> Path:
        """The exported network of that digest, laid out for windows of that size."""
        return self.folder / f"network_{weights[:16]}_{window_px}.onnx"

    def _marker(self, block: Block) -> Path:
        return self.folder / f"{block.index:06d}.json"

    def is_complete(self, block: Block) -> bool:
        """Whether all files of the block are written."""
        return self._marker(block).is_file()

    def windows_of(self, block: Block) -> int:
        """Windows that a complete block was made from."""
        return int(_read_json(self._marker(block))["windows"])

    def complete(self, block: Block, windows: int) -> None:
        """Declare the block's files complete."""
        write_json(self._marker(block), {"windows": windows})

    def finish(self, report: MapReport) -> None:
        """Write the report; blocks are kept only while some of them are missing."""
        write_json(self.out / REPORT, report.to_json())
        if not report.failed:
            shutil.rmtree(self.folder)


def open_workspace(
    out: Path, plan: dict[str, Any], stems: Sequence[str], overwrite: bool
) -> Workspace:
    """Start in `out`, or go on where an earlier run of the same plan stopped.

    Raises `ConfigError` when a finished map, a run with another plan, or a foreign file of one of
    the names stands there, unless `overwrite` replaces the first two.
    """
    work = Workspace(out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file. Name a folder for the map.")
    if work.folder.exists() and not (work.folder / _PLAN).is_file() and any(work.folder.iterdir()):
        raise ConfigError(
            f"{work.folder}: holds files that are not of a mapping run. Choose another folder."
        )
    report = out / REPORT
    maps = [work.map_file(stem) for stem in stems]
    if not overwrite:
        if report.is_file() and not _read_json(report).get("failed"):
            raise ConfigError(
                f"{out}: holds a finished map. Choose another folder, or set overwrite=true."
            )
        present = [path.name for path in maps if path.exists()]
        if present and not work.folder.exists():
            raise ConfigError(
                f"{out}: already holds {', '.join(present)}. Choose another folder, or set "
                "overwrite=true."
            )
    try:
        if overwrite and work.folder.exists():
            shutil.rmtree(work.folder)
        if overwrite:
            report.unlink(missing_ok=True)
        work.folder.mkdir(parents=True, exist_ok=True)
        # A killed run may leave temporaries; nothing else has names of this form.
        for leftover in [*work.folder.glob(".*"), *(p for m in maps for p in _temporaries(m))]:
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written to ({error.strerror or error}). Check permissions and "
            "free space."
        ) from error
    stated = work.folder / _PLAN
    if stated.is_file():
        before = _read_json(stated)
        changed = sorted(k for k in {*before, *plan} if before.get(k) != plan.get(k))
        if changed:
            raise ConfigError(
                f"{out}: holds blocks of an unfinished run that differs in: {', '.join(changed)}. "
                "Repeat that run's command to go on with it, choose another folder, or set "
                "overwrite=true to start anew."
            )
    else:
        write_json(stated, plan)
    return work


def _temporaries(target: Path) -> list[Path]:
    """What `atomic_path` leaves of `target` when the process is killed."""
    return list(target.parent.glob(f".{target.stem}.????????{target.suffix}*"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Remove the folder and start again."
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: is not what a mapping run writes. Remove the folder.")
    return value


def network_digest(network: nn.Module) -> str:
    """SHA-256 over names, types, shapes and numbers of the network's tensors."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)};".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def file_identity(path: Path | str) -> dict[str, Any]:
    """A file's path, size and time of change; only the path for what is no local file."""
    local = Path(path)
    if not local.is_file():
        return {"path": str(path)}
    stat = local.stat()
    return {"path": str(local.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
