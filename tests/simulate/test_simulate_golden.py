"""What the benchmark's bytes depend on has a fingerprint, so that no change goes unseen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bocage.simulate import golden, patches, sites
from bocage.simulate.benchmark import BENCHMARKS
from bocage.simulate.domains import DOMAINS

pytestmark = pytest.mark.unit


def _changed(before: dict[str, int]) -> set[str]:
    after = golden.table_checks()
    assert after.keys() == before.keys()
    return {name for name in before if before[name] != after[name]}


def test_the_goldens_hold_tables_sites_and_every_domain():
    held = json.loads((Path(__file__).parent / "golden.json").read_text())["checks"]
    assert held.items() >= golden.table_checks().items()
    assert {f"{domain.key} everything" for domain in DOMAINS} <= held.keys()
    assert len([name for name in held if name.endswith(" regions")]) == 2


def test_another_crop_of_a_domain_is_seen(monkeypatch):
    before = golden.table_checks()
    other = [
        dataclasses.replace(domain, crops={"rice": 1}) if domain.key == "D080-2021" else domain
        for domain in DOMAINS
    ]
    monkeypatch.setattr(golden, "DOMAINS", tuple(other))
    assert _changed(before) == {"domains"}


@pytest.mark.parametrize(
    ("module", "name", "value", "seen"),
    [
        (sites, "_CAREFUL", 13, "siting"),
        (sites, "_CROPS_WEIGHT", 0.5, "siting"),
        (sites, "FLAIR1_SHARES", {**sites.FLAIR1_SHARES, "snow": 0.2}, "siting"),
        (patches, "_FEW_PATCHES", 9, "plans"),
    ],
)
def test_another_constant_of_siting_is_seen(monkeypatch, module, name, value, seen):
    before = golden.table_checks()
    monkeypatch.setattr(module, name, value)
    assert _changed(before) == {seen}


def test_another_benchmark_is_seen(monkeypatch):
    before = golden.table_checks()
    monkeypatch.setitem(BENCHMARKS, "v1", dataclasses.replace(BENCHMARKS["v1"], seed=2))
    assert _changed(before) == {"benchmarks"}
