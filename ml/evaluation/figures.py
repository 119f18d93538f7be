"""Figures of one model version for each label: ranking, operating point, calibration and curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.alarms import is_normal
from ml.bootstrap import Draws, bootstrap_shares, share_interval
from ml.labels import LABELS
from ml.metrics import MetricUndefined, brier, calibration_bins, calibration_error, evaluate, operating_curve, roc_curve
from ml.model.calibration import Platt, calibrate, sigmoid
from ml.model.manifest import Threshold

BINS = 15


@dataclass(frozen=True, eq=False)
class Scored:
    """The logits of a version with the truth; the input of all figures.

    Attributes:
        truth: (N, 14) of 0, 1 or NaN for unknown.
        logits: (N, 14).
        patients: one per image.
        thresholds: operating point of each label, or None.
        calibration: of each label.
        threshold_notes: why a label has no operating point.
        all_truth: as `truth`, where that hides labels that the version was not trained on.
    """

    truth: NDArray[np.float64]
    logits: NDArray[np.float64]
    patients: Sequence[str]
    thresholds: Mapping[str, Threshold | None]
    calibration: Mapping[str, Platt]
    threshold_notes: Mapping[str, str]
    all_truth: NDArray[np.float64] | None = None

    @property
    def normal(self) -> NDArray[np.bool_]:
        """(N,): True where every label is known, and none is present."""
        truth = self.truth if self.all_truth is None else self.all_truth
        return is_normal(truth)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Calibrated probabilities (N, 14)."""
        return calibrate(self.logits, LABELS, self.calibration)

    @property
    def called(self) -> NDArray[np.float64]:
        """(N, 14): 1 where the probability reaches the operating point, else 0; NaN for a label without one."""
        points = [self.thresholds[label] for label in LABELS]
        values = np.array([np.nan if point is None else point.value for point in points])
        return np.where(np.isnan(values), np.nan, self.probabilities >= values)


def classification(
    scored: Scored, draws: Draws, ranking: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
) -> dict[str, Any]:
    """The report of `ml.metrics.evaluate`, with operating points, calibration, ROC and reliability points per label.

    Operating point: sensitivity, specificity, PPV and NPV with patient-level 95 % CI; null for a label without one.
    Calibration: ECE over 15 equal-mass bins and Brier score, for the plain sigmoid ("raw") and after Platt scaling
    ("platt").
    """
    report = evaluate(scored.truth, scored.logits, scored.patients, draws=draws, ranking=ranking)
    points = operating_points(scored, draws)
    forms = {"raw": sigmoid(scored.logits), "platt": scored.probabilities}
    for column, label in enumerate(LABELS):
        truth = scored.truth[:, column]
        report["labels"][label] |= {
            "films": int((~np.isnan(truth)).sum()),
            "operating_point": points[label],
            "operating_point_note": None if points[label] else scored.threshold_notes.get(label, "None is stored."),
            "ece": {form: _known(calibration_error, truth, values[:, column]) for form, values in forms.items()},
            "brier": {form: _known(brier, truth, values[:, column]) for form, values in forms.items()},
            "reliability": {
                form: calibration_bins(truth, values[:, column], BINS).tolist() for form, values in forms.items()
            },
            "roc": _roc(truth, scored.logits[:, column]),
            "operating_curve": _operating_curve(truth, scored.probabilities[:, column]),
        }
    for figure in ("ece", "brier"):
        report[figure] = {form: _mean(report["labels"], figure, form) for form in forms}
    report["ece"]["bins"] = BINS
    return report


def operating_points(scored: Scored, draws: Draws) -> dict[str, dict[str, Any] | None]:
    """Figures at each label's stored operating point; None for a label without one."""
    called, truth = scored.called, scored.truth
    known = ~np.isnan(truth)
    positive, alarm = known & (truth > 0), called > 0
    negative = known & ~positive
    shares = {
        "sensitivity": (alarm, positive),
        "specificity": (~alarm, negative),
        "ppv": (positive, known & alarm),
        "npv": (negative, known & ~alarm),
    }
    samples = {name: bootstrap_shares(hits, among, draws) for name, (hits, among) in shares.items()}
    result: dict[str, dict[str, Any] | None] = {}
    for column, label in enumerate(LABELS):
        point = scored.thresholds[label]
        if point is None:
            result[label] = None
            continue
        entry: dict[str, Any] = {"threshold": point.value, "strategy": point.strategy}
        for name, (hits, among) in shares.items():
            entry |= share(name, hits[:, column], among[:, column], samples[name][:, column], draws)
        result[label] = entry
    return result


def share(
    name: str, hits: NDArray[np.bool_], among: NDArray[np.bool_], samples: NDArray[np.float64], draws: Draws
) -> dict[str, Any]:
    """Share of `hits` (N,) among the images `among` (N,): `name`, `name`_ci95 and `name`_films; nulls for no image."""
    films = int(among.sum())
    if not films:
        return {name: None, f"{name}_ci95": None, f"{name}_films": 0}
    value = float(hits[among].mean())
    found = share_interval(value, samples, len(np.unique(draws.group[among])))
    return {name: value, f"{name}_ci95": found.pair() if found else None, f"{name}_films": films}


def _known(metric: Any, truth: NDArray[Any], probabilities: NDArray[Any]) -> float | None:
    try:
        return float(metric(truth, probabilities))
    except MetricUndefined:
        return None


def _roc(truth: NDArray[Any], scores: NDArray[Any]) -> list[list[float]] | None:
    try:
        return [[float(x), float(y)] for x, y in roc_curve(truth, scores)]
    except MetricUndefined:
        return None


def _operating_curve(truth: NDArray[Any], probabilities: NDArray[Any]) -> list[list[float]] | None:
    try:
        return operating_curve(truth, probabilities).tolist()
    except MetricUndefined:
        return None


def _mean(labels: Mapping[str, Any], figure: str, form: str) -> float | None:
    values = [entry[figure][form] for entry in labels.values() if entry[figure][form] is not None]
    return float(np.mean(values)) if values else None
