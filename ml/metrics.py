"""Ranking metrics for multi-label films, exact with ties, and confidence intervals that resample patients.

Films of one patient are not independent, so the bootstrap draws patients, never films.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.labels import LABELS

Array = NDArray[Any]


class MetricUndefined(ValueError):
    """The metric has no value for these films, e.g. no positive at all."""


def _checked(truth: Array, scores: Array) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    values = np.asarray(scores, dtype=np.float64)
    positive = np.asarray(truth).astype(bool)
    if positive.shape != values.shape or positive.ndim != 1:
        raise ValueError(f"Truth {positive.shape} and scores {values.shape} must be equally long vectors.")
    if not np.isfinite(values).all():
        raise ValueError("Scores contain NaN or infinity: refuse the predictions instead of ranking them.")
    return positive, values


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse], dtype=np.float64)


def auroc(truth: Array, scores: Array) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic with mid-ranks, so ties count one half.

    truth (N,) of 0/1, scores (N,) any monotone score. Raises MetricUndefined without both classes.
    """
    positive, values = _checked(truth, scores)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        raise MetricUndefined("AUROC needs at least one positive and one negative film.")
    rank_sum = float(_midranks(values)[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative)


def average_precision(truth: Array, scores: Array) -> float:
    """Area under the precision-recall curve as average precision (step-wise, tied scores taken together).

    Raises MetricUndefined without a positive.
    """
    positive, values = _checked(truth, scores)
    if not positive.any():
        raise MetricUndefined("Average precision needs at least one positive film.")
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    hits = np.cumsum(positive[order])[ends]
    precision = hits / (ends + 1.0)
    recall = hits / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def youden_threshold(truth: Array, scores: Array) -> float:
    """The score t with the largest sensitivity + specificity - 1 for the rule "positive if score >= t".

    t lies half-way to the next lower score seen, so it does not depend on one film's last digit. Youden 1950.
    Raises MetricUndefined without both classes.
    """
    positive, values = _checked(truth, scores)
    if positive.all() or not positive.any():
        raise MetricUndefined("Youden's J needs at least one positive and one negative film.")
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(values) - 1)
    hits = np.cumsum(positive[order])[ends]
    alarms = ends + 1 - hits
    best = int(np.argmax(hits / positive.sum() - alarms / (~positive).sum()))
    at = ordered[ends[best]]
    return float((at + ordered[ends[best] + 1]) / 2.0 if best + 1 < len(ends) else at)


def calibration_error(truth: Array, probabilities: Array, bins: int = 15) -> float:
    """Expected calibration error over equal-mass bins: mean |observed - predicted|, in [0, 1]."""
    positive, values = _checked(truth, probabilities)
    parts = np.array_split(np.argsort(values, kind="stable"), min(bins, len(values)))
    return float(sum(abs(positive[p].mean() - values[p].mean()) * len(p) for p in parts) / len(values))


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval of the patient-level bootstrap."""

    low: float
    high: float


def _patient_weights(patients: Sequence[Any], rounds: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    names, group = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=rounds)
    return group, drawn


def _weighted_auroc(
    positive: NDArray[np.bool_], inverse: NDArray[np.intp], n_values: int, weights: NDArray[np.int64]
) -> float:
    hits = np.bincount(inverse[positive], weights=weights[positive], minlength=n_values)
    misses = np.bincount(inverse[~positive], weights=weights[~positive], minlength=n_values)
    if hits.sum() == 0 or misses.sum() == 0:
        return float("nan")
    below = np.cumsum(misses) - misses
    return float(np.dot(hits, below + misses / 2.0) / (hits.sum() * misses.sum()))


def bootstrap_auroc(
    truth: Array, scores: Array, patients: Sequence[Any], rounds: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """AUROC of every label in every bootstrap round, (rounds, L), NaN where a round has one class only.

    truth and scores are (N, L), patients has N entries; whole patients are drawn with replacement.
    """
    group, drawn = _patient_weights(patients, rounds, seed)
    truth, scores = np.asarray(truth).astype(bool), np.asarray(scores, dtype=np.float64)
    result = np.full((rounds, truth.shape[1]), np.nan)
    for column in range(truth.shape[1]):
        unique, inverse = np.unique(scores[:, column], return_inverse=True)
        for index in range(rounds):
            result[index, column] = _weighted_auroc(truth[:, column], inverse, len(unique), drawn[index, group])
    return result


def interval(samples: NDArray[np.float64]) -> Interval | None:
    """2.5th to 97.5th percentile of the finite samples; None when fewer than half are finite."""
    finite = samples[np.isfinite(samples)]
    if len(finite) * 2 < len(samples):
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(float(low), float(high))


def _or_none(metric: Callable[[Array, Array], float], truth: Array, scores: Array) -> float | None:
    try:
        return metric(truth, scores)
    except MetricUndefined:
        return None


def evaluate(
    truth: Array,
    scores: Array,
    patients: Sequence[Any],
    labels: Sequence[str] = LABELS,
    rounds: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The evaluation report of (N, L) truth and scores: per label and mean AUROC with patient-level 95 % CI.

    Labels without both classes get null and are left out of the mean, which `labels_in_mean` counts.
    Returns {"n", "patients", "mean_auroc", "ci95", "labels_in_mean", "mean_auroc_without_pneumonia", "labels"}.
    """
    truth, scores = np.asarray(truth), np.asarray(scores)
    if truth.shape != scores.shape or truth.shape != (len(patients), len(labels)):
        raise ValueError(
            f"Shapes differ: truth {truth.shape}, scores {scores.shape}, {len(patients)} patients, "
            f"{len(labels)} labels."
        )
    samples = bootstrap_auroc(truth, scores, patients, rounds, seed)
    per_label: dict[str, dict[str, Any]] = {}
    for column, label in enumerate(labels):
        value = _or_none(auroc, truth[:, column], scores[:, column])
        per_label[label] = {
            "auroc": value,
            "ci95": _pair(interval(samples[:, column])) if value is not None else None,
            "auprc": _or_none(average_precision, truth[:, column], scores[:, column]),
            "positives": int(truth[:, column].sum()),
        }
    mean, ci95, count = _mean_of(per_label, samples, labels)
    rest = [label for label in labels if label != "Pneumonia"]
    other, other_ci95, _ = _mean_of(
        {k: per_label[k] for k in rest}, samples[:, [i for i, name in enumerate(labels) if name in rest]], rest
    )
    return {
        "n": len(truth),
        "patients": len(set(patients)),
        "mean_auroc": mean,
        "ci95": ci95,
        "labels_in_mean": count,
        "mean_auroc_without_pneumonia": other,
        "ci95_without_pneumonia": other_ci95,
        "labels": per_label,
    }


def _mean_of(
    per_label: Mapping[str, Mapping[str, Any]], samples: NDArray[np.float64], labels: Sequence[str]
) -> tuple[float | None, list[float] | None, int]:
    used = [i for i, label in enumerate(labels) if per_label[label]["auroc"] is not None]
    if not used:
        return None, None, 0
    mean = float(np.mean([per_label[labels[i]]["auroc"] for i in used]))
    chosen = samples[:, used]
    counts = np.isfinite(chosen).sum(axis=1)
    means = np.where(counts > 0, np.nansum(chosen, axis=1) / np.maximum(counts, 1), np.nan)
    return mean, _pair(interval(means)), len(used)


def _pair(value: Interval | None) -> list[float] | None:
    return None if value is None else [value.low, value.high]
