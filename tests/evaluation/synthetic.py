"""Synthetic evaluations of a quality that the test chooses; no film is read."""

from pathlib import Path
from typing import Any

import numpy as np

from apps.audit.services import Actor
from apps.evaluation.models import EvaluationSet
from apps.evaluation.services import store_evaluation
from apps.registry.models import ModelVersion
from ml.bootstrap import Draws, bootstrap_ranking
from ml.evaluation.pairing import rounds_of
from ml.labels import LABELS
from ml.metrics import evaluate, round_means

PATIENTS = 150


def films(seed: int = 0) -> tuple[Any, list[str]]:
    """Truth (300, 14) and patients, two films each."""
    rng = np.random.default_rng(seed)
    return (rng.random((2 * PATIENTS, len(LABELS))) < 0.4).astype(float), [str(n // 2) for n in range(2 * PATIENTS)]


def report(quality: float, *, seed: int = 0, noise: int = 1) -> dict[str, Any]:
    """What `evaluate_version` says of a version whose scores are `quality` × truth + noise."""
    truth, patients = films(seed)
    scores = quality * truth + np.random.default_rng(noise).normal(size=truth.shape)
    draws = Draws.of(patients, 200, 0)
    ranking = bootstrap_ranking(truth, scores, draws)
    listed = Films(truth, patients)
    return {
        "model": {"name": "x"},
        "split": {"id": "list test_list.txt", "sha256": "0" * 64},
        **evaluate(truth, scores, patients, draws=draws, ranking=ranking),
        "bootstrap": rounds_of(listed, round_means(ranking[0]), 0),
        "localisation": {},
    }


class Films:
    """As much of a list as its identity needs."""

    def __init__(self, truth: Any, patients: list[str]) -> None:
        self.truth, self.patients = truth, patients
        self.names = tuple(f"{number}.png" for number in range(len(patients)))


def measured(version: ModelVersion, films: EvaluationSet, quality: float, **how: int) -> None:
    """Keep an evaluation of that quality."""
    found = report(quality, **how)
    store_evaluation(version=version, report=found, data=Path(films.folder), split=None, by=Actor(name="test"))


def a_set(name: str = "public") -> EvaluationSet:
    """A set that no worker is asked to read."""
    return EvaluationSet.objects.create(name=name, folder=f"/films/{name}", split="", films=300, patients=PATIENTS)
