"""One confusion matrix, and every score, table and picture derived from it."""

from bocage.evaluation.confusion import ConfusionMatrix, decide, wrong_share
from bocage.evaluation.report import write_report
from bocage.evaluation.scores import ClassScore, Scores, score

__all__ = [
    "ClassScore",
    "ConfusionMatrix",
    "Scores",
    "decide",
    "score",
    "write_report",
    "wrong_share",
]
