"""Products that a patch lacks and its neighbours have: what an interrupted copy leaves behind."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bocage.data.index import PatchIndex
from bocage.data.verify.finding import Finding
from bocage.modalities import CLOUDY_SERIES, SENTINEL2_MASK

_EXAMPLES = 3


def check_absences(index: PatchIndex) -> list[Finding]:
    """Per domain and product one note on the patches without it, if others have it.

    A sensor may be missing: a network that has learnt so can do without. Whoever fetched the whole
    dataset wants to know.
    """
    findings: list[Finding] = []
    products = index.available()
    ids = index.table.column("patch_id")
    domains = index.table.column("domain").cast(pa.string())
    present = {
        name: pc.is_valid(index.table.column(f"path:{name}")).to_numpy() for name in products
    }
    for domain in index.domains:
        here = pc.equal(domains, domain).to_numpy()
        for name, found in present.items():
            lacking = np.flatnonzero(here & ~found)
            if 0 < len(lacking) < here.sum():
                examples = ", ".join(ids[int(row)].as_py() for row in lacking[:_EXAMPLES])
                text = f"domain {domain}: {len(lacking):,} of {here.sum():,} patches have no "
                text += f"{name}, such as {examples}"
                findings.append(Finding("note", "absent", text, domain=domain, product=name))
            elif len(lacking) and len(index.domains) > 1:
                text = f"domain {domain}: no patch has {name}, but other domains have it"
                findings.append(Finding("note", "absent", text, domain=domain, product=name))
    cloudy = [name for name in present if name in CLOUDY_SERIES]
    masked = present.get(SENTINEL2_MASK, np.zeros(len(index), dtype=bool))
    for name in cloudy:
        blind = np.flatnonzero(present[name] & ~masked)
        if len(blind):
            example = ids[int(blind[0])].as_py()
            text = f"{len(blind):,} patches have {name} without {SENTINEL2_MASK}, so their clear "
            text += f"dates are unknown, such as {example}"
            findings.append(Finding("note", "absent", text, product=SENTINEL2_MASK))
    return findings
