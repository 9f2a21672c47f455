"""Building LC-L with its weights: seconds and memory, each way in processes of its own.

Ours is `import_checkpoint`: names and shapes on the meta device, then the file's tensors, mapped
into memory, in their places. The baseline builds whole segmentation models with drawn weights,
keeps a half of each, and copies the file's tensors into it. What importing modules takes and holds
is not counted. A mapped tensor costs memory when it is first looked at: a second figure is taken
after every weight was read once.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.measure import Row, amounts, row
from benchmarks.naive_network import NaiveNetwork
from bocage.models.published import build_empty, import_checkpoint, published_config

ROUNDS = 5
NAME = "LC-L"
WAYS = ("ours", "naive")


def run(name: str = NAME, rounds: int = ROUNDS) -> list[Row]:
    """Four rows: seconds and memory, as built and with every weight read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        _write_weights(name, path)
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for turn in range(rounds + 1):
            for way in WAYS:
                figures = _in_process(way, name, path)
                if turn:  # the first brings the file into the page cache
                    found[way].append(figures)
    rows = []
    for key, title in (("built", f"build {name}"), ("read", f"build {name}, read every weight")):
        rows.append(row(title, *([f[f"{key}_s"] for f in found[way]] for way in WAYS)))
        ours, naive = (statistics.median(f[f"{key}_mb"] for f in found[way]) for way in WAYS)
        rows.append(amounts(f"{title}: peak memory", ours, naive, "MB"))
    return rows


def measure(way: str, name: str, path: Path) -> dict[str, float]:
    """Seconds since the start and growth of this process's peak memory, MB, in two places."""
    config = published_config(name)
    # Linux: the peak so far is forgotten, so that what imports needed for a moment does not count.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory_mb("VmRSS")
    start = time.perf_counter()
    network: nn.Module
    if way == "ours":
        network = import_checkpoint(path, config).network
    else:
        network = NaiveNetwork(config)
        network.load_state_dict(load_file(path))
    figures = {"built_s": time.perf_counter() - start, "built_mb": _memory_mb("VmHWM") - before}
    for tensor in network.state_dict().values():
        tensor.sum()
    return {
        **figures,
        "read_s": time.perf_counter() - start,
        "read_mb": _memory_mb("VmHWM") - before,
    }


def _in_process(way: str, name: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.build", way, name, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _write_weights(name: str, path: Path) -> None:
    torch.manual_seed(0)
    save_file(
        {
            key: torch.randn(like.shape)
            if like.is_floating_point()
            else torch.zeros_like(like, device="cpu")
            for key, like in build_empty(published_config(name)).state_dict().items()
        },
        path,
    )


def _memory_mb(kind: str) -> float:
    """This process's resident memory now (VmRSS) or at its peak (VmHWM)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"no {kind} in /proc/self/status")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
