"""Scores of a trained model on a split: one forward pass per batch, one confusion matrix."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from bocage.data import PatchDataModule
from bocage.errors import ConfigError
from bocage.evaluation import ConfusionMatrix, Scores, decide, write_report
from bocage.models import BundleTask, load_bundle, refuse_other_inputs
from bocage.training.bundling import bundle_tasks
from bocage.training.plan import EvaluationPlan

_log = logging.getLogger("bocage")


def evaluate(
    bundle_path: Path,
    plan: EvaluationPlan,
    *,
    split: str,
    target: Path,
    device: str = "auto",
    progress: Callable[[int, int | None], None] | None = None,
) -> dict[str, Scores]:
    """Evaluate a bundle on the patches of `split` and write the report into `target`.

    `progress` is called with patches done and in total. Returns the scores by task name.
    """
    tasks = plan.task_list
    place = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    )
    bundle = load_bundle(bundle_path, device=str(place))
    known = {task.name: task for task in bundle.meta.tasks}
    missing = [task.name for task in tasks if task.name not in known]
    if missing:
        raise ConfigError(
            f"{bundle_path}: not trained for {', '.join(missing)}; it knows {sorted(known)}"
        )
    for wanted in bundle_tasks(tasks):
        _refuse_other_classes(bundle_path, wanted, known[wanted.name])
    refuse_other_inputs(bundle_path, bundle.meta, plan.network.inputs)
    names = [item.modality for item in bundle.meta.network.inputs]
    module = PatchDataModule(plan.data, names, tasks, plan.seed)
    module.setup_split(split)
    total = module.count(split)
    matrices = {task.name: ConfusionMatrix(task, module.domains(split)) for task in tasks}
    for matrix in matrices.values():
        matrix.to(place)

    network = bundle.network.eval()
    done = 0
    with torch.inference_mode():
        for batch in module.loader(split):
            moved = batch.to(place)
            output = network(**moved.network_inputs())
            for task in tasks:
                matrices[task.name].update(
                    decide(output.logits[task.name], task), moved.labels[task.name], batch.domains
                )
            done += len(batch)
            if progress is not None:
                progress(done, total)
    about = {"model": str(bundle_path), "split": split, "patches": total}
    scores = write_report(target, matrices, about)
    _log.info("wrote %s", target / "scores.txt")
    return scores


def _refuse_other_classes(path: Path, wanted: BundleTask, learnt: BundleTask) -> None:
    """Refuse a bundle whose outputs mean other classes than the labels to be compared with."""
    ours = [(c.id, c.name, c.scored) for c in wanted.classes]
    theirs = [(c.id, c.name, c.scored) for c in learnt.classes]
    if ours != theirs:
        differ = [
            f"{b} where the labels have {a}" for a, b in zip(ours, theirs, strict=False) if a != b
        ]
        counts = [f"{len(theirs)} classes where the labels have {len(ours)}"]
        raise ConfigError(
            f"{path}: its class list for {wanted.name} is another one: "
            f"{'; '.join((differ or counts)[:4])} (id, name, scored). Evaluate with the version "
            "of Bocage and the label set that it was trained with."
        )
