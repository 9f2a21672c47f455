"""Checking a whole dataset: scan, patches in watched processes, then what only all of them show."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bocage.data.build import is_read_only
from bocage.data.index import PatchIndex
from bocage.data.layouts import Layout, get_layout
from bocage.data.record import PatchRecord
from bocage.data.verify.absence import check_absences
from bocage.data.verify.finding import Finding, in_order, named
from bocage.data.verify.ground import Place, check_neighbours
from bocage.data.verify.journal import Journal, findings_of
from bocage.data.verify.levels import LevelTable, tabulate
from bocage.data.verify.patch import PatchJob, PatchReport, run_job
from bocage.data.verify.report import text_lines, write_report
from bocage.data.verify.watch import Limits, Stopped, watch
from bocage.errors import ConfigError, DataError

Progress = Callable[[int, int | None], None]

# Bounds how many records are alive at once; as rows of a table they take a tenth of it.
_SCAN_CHUNK = 4096


@dataclass(frozen=True)
class VerifyReport:
    """The outcome of a check.

    `folder` holds it on disk. `read` of the `patches` were read by this run, the others are
    unchanged since an earlier one. `peak_bytes` is the most memory that a reading process has held
    beyond what its libraries take.
    """

    folder: Path
    patches: int
    read: int
    findings: tuple[Finding, ...]
    levels: LevelTable
    peak_bytes: int

    @property
    def clean(self) -> bool:
        """Whether there is no error; notes are allowed."""
        return all(finding.severity != "error" for finding in self.findings)

    def lines(self, most: int) -> list[str]:
        """What `findings.txt` says, with at most so many findings."""
        return text_lines(self.patches, self.findings, self.levels, most)


def verify_dataset(
    root: Path,
    layout: str,
    out: Path | None = None,
    *,
    workers: int = 1,
    time_limit_s: float = Limits.seconds,
    again: bool = False,
    progress: Progress | None = None,
) -> VerifyReport:
    """Check every file of the dataset under `root`, and write what was found into `out`.

    `out` (default: `verify` in `root`) receives `findings.parquet`, `findings.txt`, `levels.csv`,
    `summary.json` and `patches.parquet`. A run that was killed goes on, and patches whose files are
    as an earlier run found them are not read again, unless `again`. `progress(done, total)` is
    called now and then. Raises `DataError` when `root` does not hold the layout.
    """
    reader = get_layout(layout)
    folder = _choose(root, out)
    index, left_out = _scan(root, reader, progress)
    journal = Journal(folder)
    if again:
        journal.forget()
    known = journal.known()
    read, peak = 0, 0
    try:
        results = watch(
            partial(run_job, root, reader),
            _jobs(index, known),
            workers,
            Limits(seconds=time_limit_s),
            _without_the_step,
        )
        for done, result in enumerate(results, 1):
            if isinstance(result, Stopped):
                journal.add(*_given_up(result))
                read += 1
            elif result.result is not None:
                journal.add(result.job.record.patch_id, *result.result)
                read += 1
                peak = max(peak, result.peak_bytes)
            if progress is not None:
                progress(done, len(index))
    finally:
        journal.flush()
    ids = index.table.column("patch_id").to_pylist()
    table = journal.settle(ids)
    levels = _level_table(table, ids)
    findings = [*left_out, *findings_of(table), *levels.findings]
    findings += check_absences(index)
    findings += _check_rois(index, table, ids)
    report = VerifyReport(folder, len(index), read, tuple(in_order(findings)), levels, peak)
    write_report(folder, report.patches, report.findings, levels)
    return report


def _choose(root: Path, out: Path | None) -> Path:
    if out is not None:
        return out
    if root.is_dir() and is_read_only(root):
        raise ConfigError(f"{root}: is read-only. Say with -o where to write what is found.")
    return root / "verify"


def _scan(
    root: Path, layout: Layout, progress: Progress | None
) -> tuple[PatchIndex, list[Finding]]:
    """Every patch as the layout sees it, and what it says that it leaves out."""
    parts: list[PatchIndex] = []
    pending: list[PatchRecord] = []
    seen = 0
    with _warnings_of("bocage.data.layouts") as texts:
        for record in layout.scan(root):
            pending.append(record)
            seen += 1
            if len(pending) == _SCAN_CHUNK:
                parts.append(PatchIndex.from_records(pending, layout.name))
                pending = []
                if progress is not None:
                    progress(0, None)
    if pending:
        parts.append(PatchIndex.from_records(pending, layout.name))
    if not parts:
        raise DataError(f"{root}: the layout finds no patch here. Check the folder.")
    index = PatchIndex.joined(parts)
    repeated = _repeated_ids(index)
    findings = [Finding("note", "left out", text) for text in texts]
    findings += [
        Finding("error", "left out", f"patch {key}: is there {times} times", key)
        for key, times in repeated.items()
    ]
    return index, findings


def _repeated_ids(index: PatchIndex) -> dict[str, int]:
    counts = index.table.column("patch_id").value_counts()
    return {
        row["values"]: row["counts"]
        for row in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()
    }


class _Collector(logging.Handler):
    """Keeps the texts of warnings."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())


@contextlib.contextmanager
def _warnings_of(name: str) -> Iterator[list[str]]:
    """What the loggers under `name` warn of inside the block."""
    texts: list[str] = []
    handler = _Collector(texts)
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)


def _jobs(index: PatchIndex, known: dict[str, str]) -> Iterator[PatchJob]:
    for record in index:
        yield PatchJob(record, known.get(record.patch_id, ""))


def _without_the_step(stopped: Stopped[PatchJob]) -> PatchJob | None:
    """The same patch without what it was stopped at; None where that is not known."""
    if not stopped.step:
        return None
    reasons = dict.fromkeys(stopped.step.split("\n"), stopped.reason)
    job = stopped.job
    return dataclasses.replace(job, stopped={**job.stopped, **reasons})


def _given_up(stopped: Stopped[PatchJob]) -> tuple[str, str, PatchReport]:
    record = stopped.job.record
    text = named(record.patch_id, stopped.reason)
    finding = Finding("error", "stuck", text, record.patch_id, record.domain, record.roi)
    # Without a signature it is tried again by the next run.
    return record.patch_id, "", PatchReport((finding,))


def _level_table(table: pa.Table, patch_ids: list[str]) -> LevelTable:
    cells = table.column("cells").combine_chunks()
    rows = np.repeat(np.arange(len(table)), cells.value_lengths().to_numpy())
    pixels = table.column("pixels").combine_chunks()
    return tabulate(rows, cells.flatten().to_numpy(), pixels.flatten().to_numpy(), patch_ids)


def _check_rois(index: PatchIndex, table: pa.Table, patch_ids: list[str]) -> list[Finding]:
    keys = [index.table.column(name).cast(pa.string()).to_pylist() for name in ("domain", "roi")]
    rois: dict[tuple[str, str], list[int]] = {}
    placed = table.column("crs").is_valid().to_pylist()
    for row, key in enumerate(zip(*keys, strict=True)):
        if placed[row]:
            rois.setdefault(key, []).append(row)
    crs, bounds = table.column("crs"), table.column("bounds")
    pixel_m = table.column("pixel_m")
    findings: list[Finding] = []
    for (domain, roi), rows in rois.items():
        places = [
            Place(crs[row].as_py(), tuple(bounds[row].as_py()), pixel_m[row].as_py())
            for row in rows
        ]
        findings += check_neighbours(domain, roi, [patch_ids[row] for row in rows], places)
    return findings
