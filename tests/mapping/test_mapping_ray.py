"""The actors of a Ray cluster: how many, on what, and what becomes of those that are lost.

A cluster in place of Ray's answers as a script says, in no time; one test runs on a real one.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mapping_stubs import Moody, aerial, bundle, read_map, write_raster
from test_mapping_shares import CONFIG, Deadly, assert_same_files

from bocage.errors import ConfigError, DataError
from bocage.mapping import MapConfig, Source, map_area
from bocage.mapping.on_ray import Crew, choose_crew, map_on_ray
from bocage.mapping.plan import Block

GB = 10**9
HEAD = {"Alive": True, "Resources": {"CPU": 4.0, "memory": 10.0 * GB, "node:head": 1.0}}
GPUS = {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 2.0, "memory": 60.0 * GB}}
DEAD = {"Alive": False, "Resources": {}}


@pytest.mark.unit
def test_the_cluster_decides_and_not_the_driver(monkeypatch) -> None:
    """Also where the driver has no GPU, or one that the cluster has not."""
    for driver_has in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has=driver_has: has)
        crew = choose_crew([HEAD, GPUS, DEAD], MapConfig(), 3 * GB)
        assert (crew.count, crew.device.type) == (2, "cuda")
        assert crew.resources == {"num_gpus": 1.0, "num_cpus": 0.0, "memory": 3.0 * GB}
        crew = choose_crew([HEAD, DEAD], MapConfig(), 3 * GB)
        assert (crew.count, crew.device.type) == (3, "cpu")
        assert crew.resources == {"num_gpus": 0.0, "num_cpus": 1.0, "memory": 3.0 * GB}
    for config in (MapConfig(device="cpu"), MapConfig(backend="openvino")):
        crew = choose_crew([HEAD, GPUS], config, 3 * GB)
        assert (crew.count, crew.device.type) == (3 + 16, "cpu")
    assert choose_crew([HEAD], MapConfig(workers=2), 3 * GB).count == 2


@pytest.mark.unit
@pytest.mark.parametrize(
    ("config", "need", "words"),
    [
        ({"workers": 4}, 3 * GB, ["workers=4", "room for 3 actors", "3.00 GB", "block_px"]),
        ({"workers": 5}, 1 * GB, ["workers=5", "room for 4 actors, each of one CPU"]),
        ({}, 11 * GB, ["room for 0 actors", "11.00 GB", "the largest gives Ray 10.00 GB"]),
        ({"device": "cuda"}, 1 * GB, ["device=cuda", "has no GPU"]),
        ({"device": "cuda:1"}, 1 * GB, ["device=cuda:1", "auto, cpu or cuda"]),
    ],
)
def test_more_than_the_cluster_has_is_refused(config, need: int, words: list[str]) -> None:
    """A machine's memory cannot be lent to another: 10 GB hold three actors of 3."""
    with pytest.raises(ConfigError) as caught:
        choose_crew([HEAD, DEAD], MapConfig(**config), need)
    for word in words:
        assert word in str(caught.value)


class Lost(Exception):
    pass


class TaskError(Exception):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Cluster:
    """In place of the module `ray`: `answer(method, argument)` says what calls come to, None for
    one that never ends."""

    exceptions = SimpleNamespace(
        RayActorError=Lost, OutOfMemoryError=MemoryError, NodeDiedError=Lost, RayTaskError=TaskError
    )

    def __init__(self, answer: Callable[[str, Any], Any]) -> None:
        self.answer = answer
        self.started = 0
        self.given: list[list[int]] = []

    def remote(self, **options: Any) -> Any:
        assert options["max_restarts"] == 0

        def actor() -> Any:
            self.started += 1
            methods = {
                name: SimpleNamespace(remote=lambda given, *_, name=name: self._call(name, given))
                for name in ("open", "map")
            }
            return SimpleNamespace(**methods)

        return lambda _: SimpleNamespace(remote=actor)

    def _call(self, method: str, given: Any) -> Any:
        if method == "map":
            self.given.append(list(given))
        return _Ref(method, given)

    def put(self, value: Any) -> Any:
        return value

    def wait(self, refs: list[Any], num_returns: int, timeout: float | None) -> Any:
        ended = [ref for ref in refs if self.answer(ref.method, ref.given) is not None]
        assert ended or timeout is not None, "would wait for ever"
        return ended[:num_returns], refs

    def get(self, ref: Any) -> Any:
        found = self.answer(ref.method, ref.given)
        if isinstance(found, Exception):
            raise found
        return found

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 0.0}


class _Ref:
    def __init__(self, method: str, given: Any) -> None:
        self.method, self.given = method, given


def run(cluster: Cluster, blocks: int = 30, count: int = 2) -> list[Any]:
    todo = [Block(i, i, i + 1, 0, 1) for i in range(blocks)]
    crew = Crew(count, torch.device("cpu"), GB)
    return list(map_on_ray(cluster, crew, SimpleNamespace(), todo, {}))


def done(indices: list[int]) -> Any:
    return [None] * len(indices), {"network": 0.0}


@pytest.mark.unit
@pytest.mark.parametrize("loss", [Lost("killed"), MemoryError("too much")])
def test_a_block_that_kills_every_actor_is_the_only_one_that_fails(loss) -> None:
    cluster = Cluster(lambda m, given: True if m == "open" else loss if 5 in given else done(given))
    outcomes = run(cluster)
    assert sorted(o.block.index for o in outcomes) == list(range(30))
    failed = {o.block.index: o.reason for o in outcomes if o.reason}
    assert list(failed) == [5]
    assert "3 actors were lost here" in failed[5]
    assert cluster.started == 2 + 3
    # The blocks that were lost beside it came again alone, after all others.
    assert [len(part) for part in cluster.given if 5 in part] == [4, 1, 1]


@pytest.mark.unit
def test_actors_that_die_at_whatever_they_are_given_end() -> None:
    cluster = Cluster(lambda m, given: True if m == "open" else Lost("killed"))
    outcomes = run(cluster, blocks=6)
    assert sorted(o.block.index for o in outcomes if o.reason) == list(range(6))
    assert cluster.started <= 2 + 3 * 6


@pytest.mark.unit
def test_actors_that_die_before_they_map_end_the_run() -> None:
    cluster = Cluster(lambda m, given: Lost("no memory"))
    with pytest.raises(DataError, match=r"actors are lost before they map anything \(no memory\)"):
        run(cluster)
    assert cluster.started <= 2 + 3 * 2 + 1


@pytest.mark.unit
def test_a_cluster_that_others_have_taken_is_not_waited_for_without_end() -> None:
    cluster = Cluster(lambda m, given: None)
    with pytest.raises(DataError, match=r"no actor has started within 10 minutes.*'CPU': 0\.0"):
        run(cluster)


@pytest.mark.unit
@pytest.mark.parametrize("error", [DataError("full disk"), KeyError("a defect")])
@pytest.mark.parametrize("method", ["open", "map"])
def test_what_an_actor_raises_arrives_as_what_it_is(error: Exception, method: str) -> None:
    cluster = Cluster(lambda m, given: TaskError(error) if m == method else True)
    with pytest.raises(type(error)) as caught:
        run(cluster)
    assert caught.value is error


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A real one, of two cores."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    # Actors find the stubs only if they are told where.
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},
    )
    torch.set_num_threads(1)
    yield ray
    ray.shutdown()


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")
def test_ray_makes_the_same_map_though_a_worker_is_killed(tmp_path: Path, cluster) -> None:
    image = aerial(1100, 1100, high=255)
    row = col = 5 * 96 - 16 + 64  # the middle of a window of the lattice
    image[:, row, col] = 7
    sources = [Source("aerial", write_raster(tmp_path / "b.tif", image))]
    expected, out = tmp_path / "expected", tmp_path / "out"
    map_area(bundle(Moody()), sources, expected, CONFIG)
    flag = tmp_path / "killed"
    report = map_area(bundle(Deadly(flag)), sources, out, CONFIG, engine="ray")
    assert flag.exists(), "nothing was killed"
    assert report.exit_code == 0
    assert report.seconds["network"] > 0
    assert_same_files(out, expected)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")
def test_on_ray_a_deadly_block_is_a_hole_in_the_report(tmp_path: Path, cluster) -> None:
    image = aerial(520, 600, high=255)
    image[:, 64 - 16, 64 - 16] = 7  # in the first window
    sources = [Source("aerial", write_raster(tmp_path / "b.tif", image))]
    network, out = bundle(Deadly(None)), tmp_path / "out"
    config = CONFIG.model_copy(update={"workers": 3})
    with pytest.raises(ConfigError, match="workers=3: the Ray cluster has room for 2 actors"):
        map_area(network, sources, out, config, engine="ray")
    assert not out.exists()
    report = map_area(network, sources, out, CONFIG, engine="ray")
    assert report.exit_code == 1
    assert [f.index for f in report.failed] == [0]
    assert "3 actors were lost here" in report.failed[0].reason
    assert report.device == "cpu"
    found = read_map(out / "cover.tif")
    assert (found[:512, :512] == 255).all()
    assert (found[512:] != 255).all()
