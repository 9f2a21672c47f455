"""Scores of a trained model on a split: one forward pass per batch, one confusion matrix."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from bocage.data import PatchDataModule
from bocage.errors import ConfigError
from bocage.evaluation import ConfusionMatrix, Scores, decide, write_report
from bocage.models import load_bundle
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
    trained = {task.name for task in bundle.meta.tasks}
    missing = [task.name for task in tasks if task.name not in trained]
    if missing:
        raise ConfigError(
            f"{bundle_path}: not trained for {', '.join(missing)}; it knows {sorted(trained)}"
        )
    names = [item.modality for item in bundle.meta.network.inputs]
    module = PatchDataModule(plan.data, names, [task.name for task in tasks], plan.seed)
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
