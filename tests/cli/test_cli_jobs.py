"""The job files of the documents, run by a shell with a `bocage` that only notes its words."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.integration

JOBS = Path(__file__).parents[2] / "docs" / "jobs"
GIVEN = {"RUN": "runs/a b", "ORTHO": "ortho", "OUT": "out", "SHARES": "100"}
SHARES = {
    "slurm.sh": ("bash", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_CPUS_PER_TASK": "8"}, "7/100"),
    "aws-batch.sh": ("sh", {"AWS_BATCH_JOB_ARRAY_INDEX": "6"}, "7/100"),
    "kubernetes.yaml": ("sh", {"JOB_COMPLETION_INDEX": "6"}, "7/100"),
}


def _run(tmp_path: Path, shell: list[str], env: dict[str, str], status: int = 0, does: str = ":"):
    """The shell's result, and the words that `bocage` got, which does that and ends so."""
    fake = tmp_path / "bocage"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\n{does}\nexit {status}\n')
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        shell, env={"PATH": path, **env}, capture_output=True, text=True, check=False
    )
    words = tmp_path / "words"
    return done, words.read_text().splitlines() if words.exists() else []


def _shell(name: str, shell: str) -> list[str]:
    if name.endswith(".sh"):
        return [shell, str(JOBS / name)]
    (container,) = yaml.safe_load((JOBS / name).read_text())["spec"]["template"]["spec"][
        "containers"
    ]
    return [*container["command"], *container["args"]]


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize(
    ("status", "told", "ok"),
    [(0, True, True), (1, True, True), (1, False, False), (2, True, False), (137, False, False)],
)
def test_a_job_computes_its_share(
    tmp_path: Path, name: str, status: int, told: bool, ok: bool
) -> None:
    """Failed blocks are no reason to repeat it; a share that has not told of itself is."""
    shell, env, share = SHARES[name]
    folder = tmp_path / "out" / "blocks"
    folder.mkdir(parents=True)
    (folder / "share-0006-of-0100.json").touch()
    own = folder / "share-0007-of-0100.json"  # of an earlier attempt
    own.touch()
    command = [part.replace("/data/", f"{tmp_path}/") for part in _shell(name, shell)]
    given = {**GIVEN, **env, "OUT": str(folder.parent)}
    done, words = _run(tmp_path, command, given, status, f"touch {own}" if told else ":")
    assert (done.returncode == 0) is ok, done.stderr
    assert words[0] == "map"
    assert words[words.index("--shard") + 1] == share


@pytest.mark.parametrize(("head", "address"), [({}, "auto"), ({"HEAD": "host"}, "host:6379")])
def test_the_driver_finds_the_cluster(tmp_path: Path, head: dict[str, str], address: str) -> None:
    done, words = _run(tmp_path, _shell("ray.sh", "sh"), {**GIVEN, **head})
    assert done.returncode == 0, done.stderr
    assert words[words.index("--address") + 1] == address
    assert words[1] == "runs/a b"


@pytest.mark.parametrize("missing", ["RUN", "ORTHO", "OUT", "SHARES"])
@pytest.mark.parametrize("name", ["slurm.sh", "aws-batch.sh"])
def test_what_is_not_given_is_named(tmp_path: Path, name: str, missing: str) -> None:
    shell, env, _ = SHARES[name]
    given = {key: value for key, value in {**GIVEN, **env}.items() if key != missing}
    done, words = _run(tmp_path, _shell(name, shell), given)
    assert done.returncode != 0
    assert f"{missing}: " in done.stderr
    assert words == []
