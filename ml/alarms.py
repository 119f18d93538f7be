"""Alarms on normal images: how many a version raises, and operating points that bound them.

A radiologist who sees most normal images flagged stops looking at the flags. Operating points that are chosen label by
label do not prevent that, because each label adds its own alarms. The alarm budget bounds them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.bootstrap import wilson

JOINT_BUDGET = 0.25
"""Largest share of normal images on which any label may raise an alarm."""

_VIEW_FACTOR = 1.2
"""The share among the images of one view may be this much larger."""

LABEL_BUDGET = 0.08
"""Largest share of normal images on which one label may raise an alarm."""

FEWEST_NORMALS = 50
"""With fewer normal images a budget is a matter of one or two of them."""

_FEWEST_IN_VIEW = 50
_FOLDS = 5
_STEP = 0.0025


def is_normal(truth: NDArray[Any]) -> NDArray[np.bool_]:
    """Images (N,) of which every label is known to be absent, by truth (N, L) of 0, 1 and NaN (unknown).

    A label that is unknown for all images does not count: most data sets have some labels only.
    """
    labelled = np.isfinite(truth).any(axis=0)
    return np.asarray((truth[:, labelled] == 0).all(axis=1) & labelled.any())


def alarms(
    positive: NDArray[Any], truth: NDArray[Any], views: Sequence[str] | NDArray[Any], labels: Sequence[str]
) -> dict[str, Any]:
    """Count flagged images among those without and with a finding.

    Args:
        positive: (N, L), whether each label is called positive.
        truth: (N, K) of 0, 1 and NaN (unknown); it may have more labels than the version reads.
        views: "PA", "AP" or "" of each image.
        labels: names of the columns of `positive`.

    Returns:
        {"share", "ci95" (Wilson), "n", "by_view": {view: share}, "by_label": {label: share}} of normal images, and
        "findings_flagged" {"share", "n"} of images with a finding. A share without images is None.
    """
    called, normal = np.asarray(positive, dtype=bool), is_normal(truth)
    flagged, view_of = np.asarray(called.any(axis=1)), np.asarray(views)
    finding = np.asarray((truth > 0).any(axis=1))
    share = _share(flagged, normal)
    return {
        "share": share,
        "ci95": None if share is None else wilson(share, int(normal.sum())).pair(),
        "n": int(normal.sum()),
        "by_view": {view: _share(flagged, normal & (view_of == view)) for view in ("PA", "AP")},
        "by_label": {label: _share(called[:, column], normal) for column, label in enumerate(labels)},
        "findings_flagged": {"share": _share(flagged, finding), "n": int(finding.sum())},
    }


def _share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(hits[among].mean()) if among.any() else None


@dataclass(frozen=True)
class AlarmBudget:
    """Largest shares of normal images that may be flagged: by any label (`joint`), and by one label."""

    joint: float = JOINT_BUDGET
    label: float = LABEL_BUDGET

    def thresholds(
        self,
        probabilities: NDArray[Any],
        truth: NDArray[Any],
        views: Sequence[str] | NDArray[Any],
        patients: Sequence[str] | NDArray[Any],
        usable: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """The lowest thresholds that keep the budget: each label flags the same share of normal images.

        One share for all labels instead of an optimum by label: an optimum would fit the few alarms of these images.
        What a share leads to is measured on patients whose images did not set the thresholds. Measured on the same
        images it would be too low, because a patient with several images sets the thresholds for himself.

        Args:
            probabilities: (N, L), calibrated, 0 to 1.
            truth: (N, K) of 0, 1 and NaN (unknown).
            views: "PA", "AP" or "" of each image.
            patients: one per image.
            usable: (L,), the labels that get a threshold.

        Returns:
            (L,) for the rule "positive if probability >= threshold"; infinity where not usable.

        Raises:
            ValueError: fewer than FEWEST_NORMALS normal images.
        """
        normal = is_normal(truth)
        if normal.sum() < FEWEST_NORMALS:
            raise ValueError(f"{int(normal.sum())} normal films are too few for an alarm budget: {FEWEST_NORMALS}.")
        scores = np.where(usable, probabilities[normal], -np.inf)
        folds = _folds(np.asarray(patients)[normal])
        limits = [(np.ones(len(scores), dtype=bool), self.joint)]
        for view in ("PA", "AP"):
            seen = np.asarray(views)[normal] == view
            limits += [(seen, _VIEW_FACTOR * self.joint)] if seen.sum() >= _FEWEST_IN_VIEW else []
        chosen = 0.0
        for share in np.arange(0.0, self.label + 1e-9, _STEP):
            flagged = np.zeros(len(scores), dtype=bool)
            for fold in range(_FOLDS):
                inside = folds == fold
                flagged[inside] = (scores[inside] >= _flagging(scores[~inside], share)).any(axis=1)
            if any(flagged[among].mean() > limit for among, limit in limits):
                break
            chosen = share
        return np.where(usable, _flagging(scores, chosen), np.inf)


def _folds(patients: NDArray[Any]) -> NDArray[np.intp]:
    """A fold 0.._FOLDS-1 for each image, the same for all images of a patient."""
    names, group = np.unique(patients, return_inverse=True)
    return np.asarray(np.random.default_rng(0).permutation(len(names))[group] % _FOLDS)


def _flagging(scores: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Thresholds (L,) that at most this share of the scores (N, L) reaches; half-way to the next lower score."""
    falling = -np.sort(-scores, axis=0)
    count = int(share * len(scores))
    if count == 0:
        return np.nextafter(falling[0], 2.0)
    last, next_lower = falling[count - 1], falling[count]
    return np.where(last > next_lower, (last + next_lower) / 2.0, np.nextafter(last, 2.0))
