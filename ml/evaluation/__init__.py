"""Evaluation of model versions: figures with intervals, subgroups, localisation, published tables."""

from ml.evaluation.films import EvaluationRefused
from ml.evaluation.version import evaluate_version

__all__ = ["EvaluationRefused", "evaluate_version"]
