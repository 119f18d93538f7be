"""Ranking and calibration metrics for multi-label images, exact with ties; unknown truth (NaN) is left out."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.bootstrap import ROUNDS, Draws, Interval, bootstrap_ranking, interval
from ml.labels import LABELS

Array = NDArray[Any]


class MetricUndefined(ValueError):
    """The metric has no value for these images, for example without a positive."""


def _checked(truth: Array, scores: Array) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    values, wanted = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if wanted.shape != values.shape or wanted.ndim != 1:
        raise ValueError(f"Truth {wanted.shape} and scores {values.shape} must be equally long vectors.")
    if not np.isfinite(values).all():
        raise ValueError("Scores contain NaN or infinity: refuse the predictions instead of ranking them.")
    known = ~np.isnan(wanted)
    return wanted[known] > 0, values[known]


def _ranked(positive: NDArray[np.bool_], values: NDArray[np.float64]) -> tuple[Array, Array, Array]:
    """Cumulative counts from the highest score down, one entry for each distinct score.

    Returns:
        Distinct scores, falling (K,); positives at or above each (K,); images at or above each (K,).
    """
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(values) - 1)
    return ordered[last], np.cumsum(positive[order])[last], last + 1


def _rates(truth: Array, scores: Array, use: str) -> tuple[Array, Array, Array]:
    """Thresholds, falling (K,), with the true and false positive rate of "positive if score >= threshold" (K,).

    A threshold lies half-way to the next lower score; the lowest one is the lowest score. `use` begins the error.
    """
    positive, values = _checked(truth, scores)
    if positive.all() or not positive.any():
        raise MetricUndefined(f"{use} at least one positive and one negative film.")
    ranked, hits, images = _ranked(positive, values)
    thresholds = (ranked + np.append(ranked[1:], ranked[-1])) / 2.0
    return thresholds, hits / hits[-1], (images - hits) / (images[-1] - hits[-1])


def _thinned(curve: NDArray[np.float64], length: Array, points: int) -> NDArray[np.float64]:
    """At most `points` vertices of a curve, evenly spaced along it.

    fpr + tpr is the length along a monotone curve in the city-block metric, so even steps keep its corners.
    """
    if len(curve) <= points:
        return curve
    wanted = np.searchsorted(length, np.linspace(0.0, 2.0, points))
    return curve[np.unique(np.minimum(wanted, len(curve) - 1))]


def auroc(truth: Array, scores: Array) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic, in which ties count one half.

    Args:
        truth: (N,) of 0, 1 or NaN (unknown, left out).
        scores: (N,), higher for more likely.

    Raises:
        MetricUndefined: one of the two classes is missing.
    """
    positive, values = _checked(truth, scores)
    if positive.all() or not positive.any():
        raise MetricUndefined("AUROC needs at least one positive and one negative film.")
    _, hits, images = _ranked(positive, values)
    ties = np.diff(hits, prepend=0)
    wins = np.diff(images - hits, prepend=0) * (hits - ties / 2.0)
    return float(wins.sum() / (hits[-1] * (images[-1] - hits[-1])))


def average_precision(truth: Array, scores: Array) -> float:
    """Area under the precision-recall curve as average precision (step-wise, tied scores taken together).

    Raises MetricUndefined without a positive.
    """
    positive, values = _checked(truth, scores)
    if not positive.any():
        raise MetricUndefined("Average precision needs at least one positive film.")
    _, hits, images = _ranked(positive, values)
    return float(np.sum(np.diff(hits / hits[-1], prepend=0.0) * (hits / images)))


def youden_threshold(truth: Array, scores: Array) -> float:
    """The score t with the largest sensitivity + specificity - 1 for the rule "positive if score >= t".

    t lies half-way to the next lower score, so it does not depend on the last digit of one score (Youden 1950).

    Raises:
        MetricUndefined: one of the two classes is missing.
    """
    thresholds, sensitivity, alarms = _rates(truth, scores, "Youden's J needs")
    return float(thresholds[np.argmax(sensitivity - alarms)])


def calibration_bins(truth: Array, probabilities: Array, bins: int = 15) -> NDArray[np.float64]:
    """Equal-mass bins of a reliability diagram, (B, 3): mean probability, observed share, images; B <= bins."""
    positive, values = _checked(truth, probabilities)
    parts = np.array_split(np.argsort(values, kind="stable"), min(bins, len(values))) if len(values) else []
    return np.array([(values[p].mean(), positive[p].mean(), len(p)) for p in parts], dtype=np.float64).reshape(-1, 3)


def calibration_error(truth: Array, probabilities: Array, bins: int = 15) -> float:
    """Expected calibration error over equal-mass bins: mean |observed - predicted|, in [0, 1].

    Raises MetricUndefined without an image of known truth.
    """
    points = calibration_bins(truth, probabilities, bins)
    if not len(points):
        raise MetricUndefined("The calibration error needs at least one film.")
    return float(np.average(np.abs(points[:, 1] - points[:, 0]), weights=points[:, 2]))


def brier(truth: Array, probabilities: Array) -> float:
    """Mean squared difference of probability and truth, in [0, 1] (Brier 1950). MetricUndefined without images."""
    positive, values = _checked(truth, probabilities)
    if not len(values):
        raise MetricUndefined("The Brier score needs at least one film.")
    return float(np.mean((values - positive) ** 2))


def roc_curve(truth: Array, scores: Array, points: int = 100) -> NDArray[np.float64]:
    """The ROC curve from (0, 0) to (1, 1), (P, 2) of false and true positive rate, P <= points.

    A longer curve is thinned to evenly spaced vertices of its own. Raises MetricUndefined without both classes.
    """
    _, sensitivity, alarms = _rates(truth, scores, "A ROC curve needs")
    curve = np.concatenate([np.zeros((1, 2)), np.stack([alarms, sensitivity], axis=1)])
    return _thinned(curve, curve.sum(axis=1), points)


def operating_curve(truth: Array, scores: Array, points: int = 100) -> NDArray[np.float64]:
    """All operating points, (P, 3) of threshold, sensitivity and specificity, with falling thresholds.

    The rule is "positive if score >= threshold". A threshold lies half-way to the next lower score; the lowest one is
    the lowest score. A curve of more than `points` is thinned as in `roc_curve`.

    Raises:
        MetricUndefined: one of the two classes is missing.
    """
    thresholds, sensitivity, alarms = _rates(truth, scores, "Operating points need")
    return _thinned(np.stack([thresholds, sensitivity, 1.0 - alarms], axis=1), sensitivity + alarms, points)


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
    rounds: int = ROUNDS,
    seed: int = 0,
    draws: Draws | None = None,
    ranking: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> dict[str, Any]:
    """The evaluation report: AUROC and AUPRC per label and their means, with patient-level 95 % CI.

    Labels without both classes get null and are left out of the mean; `labels_in_mean` counts the others.

    Args:
        truth: (N, L) of 0, 1 or NaN (unknown).
        scores: (N, L).
        patients: one per image.
        labels: names of the columns.
        rounds, seed: of the bootstrap, where `draws` is not given.
        draws: bootstrap draws that are shared with other figures.
        ranking: result of `bootstrap_ranking` for the same arguments, where the caller has it.

    Raises:
        ValueError: the shapes differ.
    """
    truth, scores = np.asarray(truth, dtype=np.float64), np.asarray(scores)
    if truth.shape != scores.shape or truth.shape != (len(patients), len(labels)):
        raise ValueError(
            f"Shapes differ: truth {truth.shape}, scores {scores.shape}, {len(patients)} patients, "
            f"{len(labels)} labels."
        )
    areas, precisions = ranking or bootstrap_ranking(truth, scores, draws or Draws.of(patients, rounds, seed))
    per_label: dict[str, dict[str, Any]] = {}
    for column, label in enumerate(labels):
        area = _or_none(auroc, truth[:, column], scores[:, column])
        precision = _or_none(average_precision, truth[:, column], scores[:, column])
        per_label[label] = {
            "auroc": area,
            "ci95": _pair(interval(areas[:, column])) if area is not None else None,
            "auprc": precision,
            "auprc_ci95": _pair(interval(precisions[:, column])) if precision is not None else None,
            "positives": int(np.nansum(truth[:, column])),
        }
    used = [i for i, label in enumerate(labels) if per_label[label]["auroc"] is not None]
    rest = [i for i in used if labels[i] != "Pneumonia"]
    mean, ci95 = mean_of([per_label[labels[i]]["auroc"] for i in used], areas[:, used])
    other, other_ci95 = mean_of([per_label[labels[i]]["auroc"] for i in rest], areas[:, rest])
    mean_auprc, auprc_ci95 = mean_of([per_label[labels[i]]["auprc"] for i in used], precisions[:, used])
    return {
        "n": len(truth),
        "patients": len(set(patients)),
        "mean_auroc": mean,
        "ci95": ci95,
        "labels_in_mean": len(used),
        "mean_auroc_without_pneumonia": other,
        "ci95_without_pneumonia": other_ci95,
        "mean_auprc": mean_auprc,
        "mean_auprc_ci95": auprc_ci95,
        "labels": per_label,
    }


def round_means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over labels of bootstrap samples (R, L) -> (R,), without labels that are undefined in a round."""
    counts = np.isfinite(samples).sum(axis=1)
    return np.where(counts > 0, np.nansum(samples, axis=1) / np.maximum(counts, 1), np.nan)


def mean_of(values: Sequence[float], samples: NDArray[np.float64]) -> tuple[float | None, list[float] | None]:
    """Mean over labels and its interval from bootstrap samples (R, L) of the same labels; nulls without labels."""
    if not values:
        return None, None
    return float(np.mean(values)), _pair(interval(round_means(samples)))


def _pair(value: Interval | None) -> list[float] | None:
    return None if value is None else value.pair()
