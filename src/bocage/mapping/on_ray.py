"""Blocks on a Ray cluster: an actor per GPU, or per core where there is none.

All machines see the sources and the output folder under the same paths. An actor that is lost is
replaced; the blocks that it was at are given out again, alone. Each asks Ray for the memory that
it needs by the formula of `bocage.mapping.engine` and for what an interpreter takes, but not for
what lies between the network's layers, which nothing tells beforehand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bocage.errors import ConfigError, DataError
from bocage.mapping.config import MapConfig
from bocage.mapping.handout import MAX_DEATHS, Handout
from bocage.mapping.plan import Block
from bocage.mapping.worker import Assignment, Outcome, Worker

_TOGETHER = 4
"""Blocks that an actor is given at once, so that it can read the next while it computes."""
PROCESS_BYTES = 600 * 10**6
"""What a process takes before it does anything: torch and its libraries."""
_PATIENCE_S = 600.0
"""What the first actor gets to start, before the cluster counts as taken by others."""


@dataclass(frozen=True)
class Crew:
    """Actors at work at once, at most, and what each of them takes."""

    count: int
    device: torch.device
    memory_bytes: int

    @property
    def resources(self) -> dict[str, float]:
        """As Ray takes them."""
        on_gpu = self.device.type == "cuda"
        return {
            "num_gpus": float(on_gpu),
            "num_cpus": float(not on_gpu),
            "memory": float(self.memory_bytes),
        }


def choose_crew(nodes: Iterable[Mapping[str, Any]], config: MapConfig, memory_bytes: int) -> Crew:
    """The actors for a job whose processes take so much memory; `nodes` are `ray.nodes()`.

    The cluster's hardware decides, whatever the machine has that the job is started on. Raises
    `ConfigError` for a GPU where the cluster has none, and where there is no room for one actor or
    for `workers` of them.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    if config.device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"device={config.device}: Ray gives every actor a device of its own. Use auto, cpu or "
            "cuda."
        )
    if config.device == "cuda" and not gpus:
        raise ConfigError("device=cuda: the Ray cluster has no GPU. Use device=cpu, or add one.")
    on_gpu = bool(gpus) and config.backend == "torch" and config.device != "cpu"
    kind = "GPU" if on_gpu else "CPU"
    places = sum(
        min(int(machine.get(kind, 0)), int(machine.get("memory", 0) // memory_bytes))
        for machine in machines
    )
    if places < (config.workers or 1):
        asked = "" if config.workers is None else f"workers={config.workers}: "
        largest = max((machine.get("memory", 0.0) for machine in machines), default=0.0)
        raise ConfigError(
            f"{asked}the Ray cluster has room for {places} actors, each of one {kind} and "
            f"{memory_bytes / 1e9:.2f} GB ({len(machines)} machines, {kind}s: "
            f"{sum(int(machine.get(kind, 0)) for machine in machines)}, the largest gives Ray "
            f"{largest / 1e9:.2f} GB). Ask for no more workers, add machines, or set block_px "
            "smaller."
        )
    return Crew(config.workers or places, torch.device("cuda" if on_gpu else "cpu"), memory_bytes)


def map_on_ray(
    ray: Any,
    crew: Crew,
    assignment: Assignment,
    todo: Sequence[Block],
    seconds: dict[str, float],
) -> Iterator[Outcome]:
    """Map the blocks on the cluster that `ray` is connected to; `seconds` gains the stages' time.

    Raises `DataError` where no actor starts, or the folder cannot be written to, and what a defect
    of this program has raised in an actor.
    """
    count = min(crew.count, len(todo))
    # An actor that is lost is replaced here and not by Ray, which fails all calls while it restarts
    # one: that one would get block after block.
    actor_class = ray.remote(**crew.resources, max_restarts=0)(_Actor)
    shared = ray.put(assignment)
    opening: dict[Any, Any] = {}
    idle: deque[Any] = deque()
    running: dict[Any, tuple[Any, list[Block]]] = {}

    # What Ray kills for want of memory has an error of its own, and so has a machine that is lost.
    errors = ray.exceptions
    lost = (errors.RayActorError, errors.OutOfMemoryError, errors.NodeDiedError)

    def start() -> None:
        actor = actor_class.remote()
        opening[actor.open.remote(shared, crew.device.type)] = actor

    for _ in range(count):
        start()
    handout, unopened = Handout(todo), 0
    while len(handout) or running:
        while idle and len(handout):
            # Small parts at the end, so that no actor has four blocks while the others wait.
            part = max(1, min(_TOGETHER, len(handout) // (2 * count)))
            blocks = handout.fresh(part)
            if not blocks:
                doubtful = handout.doubtful()
                assert doubtful is not None
                blocks = [doubtful]
            actor = idle.popleft()
            running[actor.map.remote([b.index for b in blocks])] = (actor, blocks)
        patience_s = None if running else _PATIENCE_S
        answers, _ = ray.wait([*running, *opening], num_returns=1, timeout=patience_s)
        if not answers:
            raise DataError(
                f"no actor has started within {_PATIENCE_S / 60:.0f} minutes. What the cluster has "
                f"free is {ray.available_resources()}, an actor takes {crew.resources}: wait for "
                "its other work, and repeat the command."
            )
        (ready,) = answers
        opened = opening.pop(ready, None)
        actor, blocks = running.pop(ready, (opened, []))
        try:
            found = ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            # As it was raised there: a `DataError` of a folder that cannot be written, a defect.
            raise (error.cause or error) from None
        except lost as error:
            unopened += opened is not None
            if unopened > MAX_DEATHS * count:
                raise DataError(
                    f"actors are lost before they map anything ({str(error)[:500]}). Is there "
                    "enough memory for all that a machine has? Set workers=… lower."
                ) from error
            reason = f"{MAX_DEATHS} actors were lost here. The last: {str(error)[:800]}"
            yield from handout.lost(blocks, reason)
            start()
            continue
        except errors.RayError as error:
            raise DataError(
                f"the Ray cluster could not go on ({str(error)[:500]}). Finished blocks are kept: "
                "repeat the command."
            ) from error
        idle.append(actor)
        if opened is not None:
            unopened = 0
        else:
            reasons, spent = found
            for stage, value in spent.items():
                seconds[stage] = seconds.get(stage, 0.0) + value
            for block, why in zip(blocks, reasons, strict=True):
                yield Outcome(block, why)


class _Actor:
    """A worker that is alive between calls: the network is sent and opened once."""

    def open(self, assignment: Assignment, device: str) -> None:
        """Make it ready; not in `__init__`, whose errors would not arrive as what they are."""
        self._blocks = {block.index: block for block in assignment.job.plan.blocks}
        self._worker = Worker(assignment, torch.device(device))

    def map(self, indices: Sequence[int]) -> tuple[list[str | None], dict[str, float]]:
        """Reasons of failure of the blocks, in their order, and the seconds spent by stage."""
        before = dict(self._worker.clock.seconds)
        outcomes = self._worker.run(self._blocks[i] for i in indices)
        found = {outcome.block.index: outcome.reason for outcome in outcomes}
        now = self._worker.clock.seconds
        return [found[i] for i in indices], {stage: now[stage] - before[stage] for stage in now}
