"""Packed data (`bocage data pack`): shards of records beside an index. See `docs/packing.md`.

A patch's paths are places in a shard, `shards/00012.bpk@4096+61440`; a run reads the bytes of its
own sensors and label sets, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from bocage.data.index import PatchIndex
from bocage.data.layouts.base import Layout, need_folder, wanted_label_sets
from bocage.data.layouts.territory import Rasters
from bocage.data.pack.part import StoredPart, decode_parts
from bocage.data.pack.parts import join, wanted_arrays
from bocage.data.pack.shard import (
    CLASSES,
    FOLDER,
    MANIFEST,
    PACKED,
    PLAN,
    Location,
    read_directory,
)
from bocage.data.pack.source import byte_source
from bocage.data.record import PatchRecord
from bocage.errors import DataError
from bocage.modalities import get_modality
from bocage.nomenclatures.task import Task, UnknownLabels, get_task
from bocage.sample import Sample


class Packed(Layout):
    """Packed records. See `bocage.data.layouts.base.Layout`."""

    name = PACKED

    def scan(self, root: Path) -> Iterator[PatchRecord]:
        """Every patch of every shard, from the shards' own directories."""
        need_folder(root)
        shards = sorted((root / FOLDER).glob("[0-9]*.bpk"))
        if not shards:
            raise DataError(
                f"{root}: no shard here, such as {FOLDER}/00000.bpk. Point data.root at the folder "
                "that 'bocage data pack' has written."
            )
        if not (root / MANIFEST).is_file():
            raise DataError(
                f"{root}: not packed to the end, for {MANIFEST} is missing. Run the same 'bocage "
                "data pack' again, without --shard."
            )
        for path in shards:
            yield from PatchIndex(read_directory(path).table, self.name)

    def read(
        self,
        root: Path,
        record: PatchRecord,
        modalities: Sequence[str],
        tasks: Sequence[str | Task],
        unknown_labels: UnknownLabels = "refuse",
    ) -> Sample:
        """One patch: the bytes of what is wanted, checked and decoded."""
        names = list(wanted_label_sets(tasks, record))
        names += [m.name for m in map(get_modality, modalities) if m.name in record.paths]
        if not names:
            return join(record, [], tasks, unknown_labels, str(root))
        places = [Location.parse(record.paths[name]) for name in names]
        files = {place.file for place in places}
        if len(files) > 1:
            raise DataError(
                f"patch {record.patch_id}: its record lies in {len(files)} shards. Copy the index "
                "that belongs to the packed folder."
            )
        (file,) = files
        source = byte_source(root)
        blocks = source.ranges(file, [(place.offset, place.length) for place in places])
        shard = source.describe(file)
        stored = [
            StoredPart(block, record.patch_id, name, shard)
            for name, block in zip(names, blocks, strict=True)
        ]
        parts = decode_parts(stored, [wanted_arrays(name, tasks) for name in names])
        return join(record, parts, tasks, unknown_labels, shard)

    def own_tasks(self, root: Path) -> tuple[Task, ...]:
        """Tasks of the class lists that were packed along; none at an address."""
        return tuple(get_task(str(path)) for path in sorted((root / CLASSES).glob("*.yaml")))

    def has_official_pixels(self, root: Path) -> bool:
        """As the layout that was packed."""
        plan = json.loads(byte_source(root).whole(PLAN))
        return bool(plan.get("layout") != Rasters.name)
