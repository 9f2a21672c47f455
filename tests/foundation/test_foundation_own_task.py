"""A class list of one's own: a YAML file becomes a task like any other."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from bocage.config import load_config, load_resolved
from bocage.errors import ConfigError, DataError
from bocage.nomenclatures import get_task

pytestmark = pytest.mark.unit

ROOFS = """
name: roofs
classes:
  - {id: 1, name: ground, color: "#CCCCCC"}
  - {id: 10, name: roof, name_fr: toit}
  - {id: 4, name: shadow, scored: false}
"""


@pytest.fixture
def roofs(tmp_path: Path) -> Path:
    path = tmp_path / "roofs.yaml"
    path.write_text(ROOFS)
    return path


def test_ids_are_values_and_targets_are_places(roofs: Path) -> None:
    task = get_task(str(roofs))
    assert (task.name, task.slug, task.label_set, task.band) == ("roofs", "roofs", "ROOFS", 1)
    assert task.nomenclature.ids == (1, 10, 4)
    assert [c.name_fr for c in task.nomenclature] == ["ground", "toit", "shadow"]
    assert task.nomenclature.classes[0].color == "#cccccc"
    assert task.scored.tolist() == [True, True, False]
    raw = np.array([[1, 10], [4, 255]], np.uint8)
    assert task.to_target(raw, "f").tolist() == [[0, 1], [2, 255]]
    with pytest.raises(DataError, match=r"f: 1 label pixels.*'roofs': \[0\]"):
        task.to_target(raw * 0 + np.array([[1, 1], [1, 0]], np.uint8), "f")
    assert get_task(task) is task
    # Another process finds it by its reference, or gets it as it is.
    assert get_task(task.reference) == pickle.loads(pickle.dumps(task)) == task


def test_a_run_learns_it(roofs: Path, tmp_path: Path) -> None:
    options = [
        "inputs=[aerial]", f"tasks=[{roofs}]", "loss.class_weights={roofs: [1, 2, 0]}",
        "data.sampling.classes={roofs: 1.0}",
    ]  # fmt: skip
    base = tmp_path / "run.yaml"
    base.write_text("data: {root: somewhere}\n")
    config = load_config(str(base), options)
    assert [(t.name, t.num_classes) for t in config.network.tasks] == [("roofs", 3)]
    assert config.tasks == (str(roofs),)
    document = tmp_path / "config.yaml"
    document.write_text(__import__("yaml").safe_dump(config.to_document()))
    assert load_resolved(document) == config
    for wrong, message in (
        ("loss.class_weights={roofs: [1, 2]}", "roofs needs 3 weights, got 2"),
        ("loss.task_weights={crops: 1}", "unknown task in loss.task_weights 'ALL_LABEL-LPIS'"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(str(base), [*options, wrong])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: []", "'name' is missing"),
        ("name: x\nclasses: [{id: 0, name: a}]", "at least two"),
        ("name: x.y\nclasses: [{id: 0, name: a}, {id: 1, name: b}]", r"name 'x\.y': use letters"),
        ("name: x\nclasses: [{id: 0, name: a}, {id: 0, name: b}]", "id 0 is given to several"),
        ("name: x\nclasses: [{id: 0, name: a}, {id: 1, name: a}]", "name a is given to several"),
        ("name: x\nclasses: [{id: 0, name: a}, {id: 255, name: b}]", "id 255: whole numbers"),
        ("name: x\nclasses: [{id: 0, name: a}, {id: 1, nam: b}]", "unknown key 'nam'; did you"),
        ("name: x\nclasses: [{id: 0, name: a}, {id: 1, name: b, color: red}]", "write #rrggbb"),
        ("name: x\nclasses: [{id: 0, name: a}, {id: 1, name: b, scored: 1}]", "true or false"),
        ("name: x\nband: 0\nclasses: [{id: 0, name: a}, {id: 1, name: b}]", "bands count from 1"),
        (
            "name: x\nclasses: [{id: 0, name: a, scored: false}, {id: 1, name: b, scored: false}]",
            "no class is scored",
        ),
        ("- a", "expected 'key: value' lines"),
        ("a: [", "not a YAML file"),
    ],
)
def test_mistakes_name_file_and_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        get_task(str(path))
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: the class list cannot be read"):
        get_task("gone.yaml")
    with pytest.raises(ConfigError, match=r"unknown task 'roofs'.*or the YAML file of a class"):
        get_task("roofs")
