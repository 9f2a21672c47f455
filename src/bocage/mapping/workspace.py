"""The output folder while a map is being made: the plan, finished blocks, and how a run resumes.

`OUT/blocks/plan.json` says what is being mapped, from what and how (`request`), and what that comes
to (`product`: grid, blocks, layers). `OUT/blocks/000012.json`, written last, says that the files of
block 12 are complete. A run with the same request skips complete blocks, so any number of machines
may work in one folder, each on its share: `OUT/blocks/share-0002-of-0010.json` is what the second
of ten tells about itself. A finished map is `OUT/<layer>.tif` and `OUT/report.json`; `blocks` is
then removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bocage.errors import ConfigError, DataError
from bocage.files import write_json
from bocage.mapping.hold import held
from bocage.mapping.plan import Block, Lattice
from bocage.mapping.report import MapReport

Share = tuple[int, int]
"""Part and number of parts of a job that is split over machines: (2, 10)."""

REPORT = "report.json"
_PLAN = "plan.json"
_PART_BYTES = 2**22
_LAYOUT = 3
"""Of `plan.json` and the files beside it: in 3 blocks' tiles are those of the final files, in 2
blocks lie on the whole of which the map is a part, in 1 on the map."""
_ONLINE = "online"
"""Of a request: versions that servers have told, as far as they did."""
_TEMPORARY = re.compile(r"\.[\w.-]+\.[0-9a-f]{8}(\.\w+)*")
"""What `atomic_path`, and what a layer is made in, leave when the process is killed."""
_BLOCK = re.compile(r"(\d{6,})_(.+)\.tif")
_TOLD = re.compile(r"\d{6,}\.json|share-\d{4,}-of-\d{4,}\.json")
"""What a run writes into the folder of blocks beside the plan: layers, and what says of them."""


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

    def complete_of(self, blocks: Sequence[Block]) -> list[Block]:
        """Those of the blocks that are complete."""
        return [block for block in blocks if self.is_complete(block)]

    def windows_of(self, block: Block) -> int:
        """Windows that a complete block was made from."""
        return int(_read_json(self._marker(block))["windows"])

    def found_in(self, block: Block) -> list[str]:
        """What was met while a complete block was read: tiles that broke, infinite values."""
        return list(_read_json(self._marker(block))["found"])

    def complete(
        self, block: Block, stems: Sequence[str], windows: int, found: Sequence[str] = ()
    ) -> None:
        """Declare the block's files, of the layers `stems`, complete; `found` is what was met while
        it was read.

        Raises `DataError` where the map has been finished meanwhile.
        """
        try:
            sums = {stem: _checksum(self.block_file(block, stem)) for stem in stems}
        except FileNotFoundError:
            self._check_unfinished()
            raise
        told = {"windows": windows, "found": list(found), "crc32": sums}
        write_json(self._marker(block), told)
        self._check_unfinished()

    def is_sound(self, block: Block, stem: str) -> bool:
        """Whether the file of a layer of a complete block is what was written: after a loss of
        power a file may have its size and no content."""
        stated: int = _read_json(self._marker(block))["crc32"][stem]
        try:
            return _checksum(self.block_file(block, stem)) == stated
        except OSError:
            return False

    def forget(self, block: Block) -> None:
        """Take back that the block's files are complete: it will be computed anew."""
        self._marker(block).unlink(missing_ok=True)

    def _check_unfinished(self) -> None:
        """Refuse to go on where another process has finished the map, and leave nothing behind."""
        written = _entries(self.folder)
        if (self.folder / _PLAN).is_file():
            return
        # Writing has made the folder anew: what lies in it is of processes that came too late.
        for path in written:
            if _TOLD.fullmatch(path.name) or _BLOCK.fullmatch(path.name):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        raise DataError(
            f"{self.out}: another process finished the map while this one was at work on it. "
            "Nothing is lost: the whole map stands there."
        )

    def begin(self, request: dict[str, Any], product: dict[str, Any]) -> None:
        """Write the plan, unless one stands."""
        if not (self.folder / _PLAN).is_file():
            plan = {"layout": _LAYOUT, "request": request, "product": product}
            _write_once(self.folder / _PLAN, plan)

    @property
    def product(self) -> dict[str, Any]:
        """What the plan comes to.

        Raises `DataError` where no run has begun, `ConfigError` where another version of this
        program began one and lays plans out in another way.
        """
        stated = self.folder / _PLAN
        if not stated.is_file():
            raise DataError(
                f"{self.out}: no mapping run has begun here, or its map is finished. Start it with "
                "'bocage map'."
            )
        plan = _read_json(stated)
        product = plan.get("product")
        if not isinstance(product, dict):
            raise DataError(f"{stated}: is not what a mapping run writes. Remove {self.folder}.")
        if plan.get("layout", 1) != _LAYOUT:
            raise ConfigError(
                f"{stated}: has layout {plan.get('layout', 1)}, where this version of bocage "
                f"writes {_LAYOUT}, so the blocks beside it may not fit. Finish the run with the "
                "version that began it, choose another folder, or set overwrite=true to start "
                "anew."
            )
        return product

    def declare(self, share: Share, told: dict[str, Any]) -> None:
        """Write what one share of the work tells about itself.

        Raises `DataError` where the map has been finished meanwhile.
        """
        write_json(self.folder / f"share-{share[0]:04d}-of-{share[1]:04d}.json", told)
        self._check_unfinished()

    def declared(self) -> list[dict[str, Any]]:
        """What all shares have told."""
        return [_read_json(path) for path in sorted(self.folder.glob("share-*.json"))]

    def clear_leftovers(self, stems: Sequence[str]) -> None:
        """Remove the temporaries of killed runs; never while another share is at work."""
        starts = tuple(f".{name}." for name in (*stems, "blocks", "report", "stac", "stac-model"))
        for path in [*_entries(self.folder), *_entries(self.out)]:
            ours = path.parent == self.folder or path.name.startswith(starts)
            if ours and _TEMPORARY.fullmatch(path.name):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def finish(self, report: MapReport) -> None:
        """Write the report; blocks are kept only while some of them are missing."""
        write_json(self.out / REPORT, report.to_json())
        if not report.failed:
            self.discard_blocks()

    @property
    def finished(self) -> bool:
        """Whether a whole map stands here."""
        report = self.out / REPORT
        return report.is_file() and not _read_json(report).get("failed")

    def discard_blocks(self) -> None:
        """Remove the blocks, so that at no moment a part of them looks like a run."""
        if self.folder.exists():
            rubbish = self.out / f".{self.folder.name}.{uuid.uuid4().hex[:8]}"
            self.folder.rename(rubbish)
            shutil.rmtree(rubbish, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a run has left that was killed after its report."""
        if self.finished:
            if (self.folder / _PLAN).is_file():
                self.discard_blocks()
            self.clear_leftovers(())

    def discard_map(self) -> None:
        """Remove a report and the layers that it lists, with what stands beside them."""
        report = self.out / REPORT
        layers = _read_json(report).get("maps", {}) if report.is_file() else {}
        report.unlink(missing_ok=True)
        for file in layers.values():
            layer = self.out / Path(file).name
            for path in (
                layer,
                layer.with_suffix(".qml"),
                layer.with_name(f"{layer.name}.aux.xml"),
            ):
                path.unlink(missing_ok=True)


def open_workspace(
    out: Path,
    request: dict[str, Any],
    product: dict[str, Any],
    stems: Sequence[str],
    overwrite: bool,
    holding: contextlib.ExitStack | None,
) -> Workspace:
    """Start in `out`, or go on where an earlier run of the same request stopped.

    Unless `holding` is None no other share of the work may be running in the same folder: it is
    held until `holding` is closed.

    Raises `ConfigError` when a finished map, a run of another request, or a foreign file of one of
    the names stands there, unless `overwrite` replaces the first two; and when another process
    holds the folder.
    """
    work = Workspace(out)
    if overwrite and holding is None:
        raise ConfigError(
            "overwrite=true and a share of the work exclude each other: one machine would remove "
            f"what others have made. Remove {out} first."
        )
    fresh = not out.is_dir()
    if holding is not None and not fresh:
        holding.enter_context(held(out))
        if not overwrite:
            work.tidy()
    check_folder(out, request, stems, overwrite)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if holding is not None and fresh:
            holding.enter_context(held(out))
        if overwrite:
            work.discard_map()
            work.discard_blocks()
        work.folder.mkdir(parents=True, exist_ok=True)
        if holding is not None:
            work.clear_leftovers(stems)
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written to ({error.strerror or error}). Check permissions and "
            "free space."
        ) from error
    written = _entries(work.folder)
    if not (work.folder / _PLAN).is_file() and _are_late([p.name for p in written], stems):
        # Blocks come after their plan. Temporaries are cleared where nobody else may be at work.
        for path in written:
            if not _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)
    work.begin(request, product)
    # Even if it was written just now: another share may have been faster.
    _check_request(work, request)
    return work


def _checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            value = zlib.crc32(part, value)
    return value


def planned_lattice(out: Path) -> Lattice | None:
    """The lattice of the unfinished run that `out` holds; None if there is none."""
    work = Workspace(out)
    if work.finished or not (work.folder / _PLAN).is_file():
        return None
    return Lattice(**work.product["lattice"])


def _write_once(target: Path, value: dict[str, Any]) -> None:
    """Write a file whole, unless another process has been faster."""
    ours = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}{target.suffix}")
    write_json(ours, value)
    try:
        os.link(ours, target)
    except FileExistsError:
        pass
    except OSError:
        # A file system without links: the last one wins there.
        ours.replace(target)
    finally:
        ours.unlink(missing_ok=True)


def _check_request(work: Workspace, request: dict[str, Any]) -> None:
    """Refuse to go on with blocks of another request (`ConfigError`)."""
    before = _read_json(work.folder / _PLAN).get("request", {})
    if before.get("version") != request["version"]:
        raise ConfigError(
            f"{work.out}: holds blocks of an unfinished run that differs in: version (bocage "
            f"{before.get('version')}, now {request['version']}). Finish it with that version, "
            "choose another folder, or set overwrite=true to start anew."
        )
    # As the file gives it back: tuples are lists there.
    now = json.loads(json.dumps(request))
    changed = sorted(k for k in {*before, *now} - {_ONLINE} if before.get(k) != now.get(k))
    sources = _changed_sources(before, now)
    if sources:
        raise ConfigError(
            f"{work.out}: since this unfinished run began, imagery has changed: "
            f"{', '.join(sources)}. Old and new would stand side by side in one map. Bring back "
            "what was there, or set overwrite=true to start anew."
        )
    if changed:
        raise ConfigError(
            f"{work.out}: holds blocks of an unfinished run that differs in: {', '.join(changed)}. "
            "Repeat that run's command to go on with it, choose another folder, or set "
            "overwrite=true to start anew."
        )


def _changed_sources(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Sources under the same names as before that are not what they were."""
    names = [[file["path"] for file in request["files"]] for request in (before, now)]
    if names[0] != names[1]:
        return []
    pairs = zip(before["files"], now["files"], strict=True)
    found = [one["path"] for one, other in pairs if one != other]
    if not found:
        sensors = before["tiles"].keys() & now["tiles"].keys()
        tiles = sorted(s for s in sensors if before["tiles"][s] != now["tiles"][s])
        found = [f"files of {sensor}" for sensor in tiles]
    # A server that is silent today has not changed anything.
    versions, told = before.get(_ONLINE, {}), now[_ONLINE]
    return found + sorted(a for a in versions.keys() & told.keys() if versions[a] != told[a])


def check_folder(out: Path, request: dict[str, Any], stems: Sequence[str], overwrite: bool) -> None:
    """Refuse a folder in which something else stands (`ConfigError`); changes nothing."""
    work = Workspace(out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file. Name a folder for the map.")
    # One look: another share may write the plan at any moment.
    names = {path.name for path in _entries(work.folder)}
    foreign = [name for name in names if not _TEMPORARY.fullmatch(name)]
    if _PLAN not in names and foreign and not _are_late(foreign, stems):
        raise ConfigError(
            f"{work.folder}: holds files that are not of a mapping run. Choose another folder."
        )
    if overwrite:
        return
    if work.finished:
        raise ConfigError(
            f"{out}: holds a finished map. Choose another folder, or set overwrite=true."
        )
    present = [p.name for p in map(work.map_file, stems) if p.exists()]
    if present and not work.folder.exists():
        raise ConfigError(
            f"{out}: already holds {', '.join(present)}. Choose another folder, or set "
            "overwrite=true."
        )
    if _PLAN in names:
        _check_request(work, request)


def _are_late(names: Sequence[str], stems: Sequence[str]) -> bool:
    """Whether files without a plan are what a process left that outlived its map: blocks of these
    layers, with a word on one of them at least. Anything else may be somebody's own."""
    rest = [name for name in names if not _TOLD.fullmatch(name) and not _TEMPORARY.fullmatch(name)]
    blocks = [_BLOCK.fullmatch(name) for name in rest]
    told = any(_TOLD.fullmatch(name) for name in names)
    return told and all(block is not None and block[2] in stems for block in blocks)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


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
