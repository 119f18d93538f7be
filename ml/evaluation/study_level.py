"""Figures of what a version says of a whole image: whether anything is abnormal, and which calls it is unsure of."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.alarms import is_normal
from ml.bootstrap import Draws, bootstrap_ranking, interval
from ml.evaluation.figures import Scored
from ml.labels import LABELS
from ml.metrics import MetricUndefined, auroc
from ml.model.manifest import Manifest
from ml.model.uncertainty import uncertain


def abnormal_figures(
    manifest: Manifest, scored: Scored, truth: NDArray[Any], draws: Draws
) -> dict[str, float | list[float] | None] | None:
    """Ranking of the study-level score, and its figures at its operating point.

    Args:
        manifest: of the version.
        scored: its outputs.
        truth: (N, 14) of 0, 1 and NaN (unknown), also of labels that the version cannot read.
        draws: bootstrap draws over patients.

    Returns:
        {"auroc", "ci95", "threshold", "sensitivity", "specificity"}; None where the version has no such score, or the
        images are all normal or all abnormal.
    """
    score = manifest.abnormal
    if score is None:
        return None
    finding, normal = (truth > 0).any(axis=1), is_normal(truth)
    read = [LABELS.index(label) for label in manifest.labels]
    probability = score.probability(scored.probabilities[:, read])
    wanted = np.where(finding, 1.0, np.where(normal, 0.0, np.nan))
    try:
        area = auroc(wanted, probability)
    except MetricUndefined:
        return None
    samples, _ = bootstrap_ranking(wanted[:, None], probability[:, None], draws)
    found = interval(samples[:, 0])
    called = probability >= score.threshold
    return {
        "auroc": area,
        "ci95": found.pair() if found else None,
        "threshold": score.threshold,
        "sensitivity": float(called[finding].mean()),
        "specificity": float((~called)[normal].mean()),
    }


def uncertain_figures(manifest: Manifest, scored: Scored) -> dict[str, Any] | None:
    """How many calls are uncertain, and how often certain and uncertain calls are wrong.

    Returns:
        {"share", "by_label": {label: share}, "wrong_certain", "wrong_uncertain"} over the labels with an operating
        point, the last two as shares of the calls of known truth (None without one). None for a version without
        margins.
    """
    points = {label: point.value for label, point in scored.thresholds.items() if point is not None}
    if not manifest.margins or not points:
        return None
    columns = [LABELS.index(label) for label in points]
    doubtful = uncertain(scored.probabilities, LABELS, points, manifest.margins)[:, columns]
    called, truth = scored.called[:, columns] > 0, scored.truth[:, columns]
    wrong, known = called != (truth > 0), ~np.isnan(truth)
    return {
        "share": float(doubtful.mean()),
        "by_label": {label: float(doubtful[:, column].mean()) for column, label in enumerate(points)},
        "wrong_certain": _share(wrong, known & ~doubtful),
        "wrong_uncertain": _share(wrong, known & doubtful),
    }


def _share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(hits[among].mean()) if among.any() else None
