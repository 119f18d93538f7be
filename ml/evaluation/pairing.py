"""Compare two stored evaluations on the same images without running the versions again.

The bootstrap draws patients by a fixed seed, so round k of both evaluations drew the same patients. The difference of
the two means in each round is therefore a paired difference.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.bootstrap import interval
from ml.evaluation.image_list import ImageList


class NotComparable(ValueError):
    """The two evaluations did not use the same images in the same way; the message says what to do."""


def images_sha256(image_list: ImageList) -> str:
    """Hash of the images of a list with their patients and truth; the order does not matter."""
    names, patients = image_list.names, image_list.patients
    order = sorted(range(len(names)), key=names.__getitem__)
    digest = hashlib.sha256("\n".join(f"{names[i]}\t{patients[i]}" for i in order).encode())
    digest.update(image_list.truth[order].tobytes())
    return digest.hexdigest()


def rounds_of(image_list: ImageList, means: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """What a report stores for later comparisons: the mean AUROC of every round (R,), as base64 of float32."""
    return {
        "films_sha256": images_sha256(image_list),
        "seed": seed,
        "rounds": len(means),
        "mean_auroc": base64.b64encode(means.astype("<f4").tobytes()).decode(),
    }


def paired_difference(report: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """Mean AUROC of `report` minus that of `first`, both from `evaluate_version`.

    Returns:
        {"mean_auroc", "ci95", "better_share"}.

    Raises:
        NotComparable: the reports are not of the same images and findings.
    """
    mine, other = report.get("bootstrap"), first.get("bootstrap")
    names = f"{report['model']['name']} and {first['model']['name']}"
    if mine is None or other is None:
        raise NotComparable(f"{names}: one was evaluated by an earlier release, which kept no rounds. Evaluate again.")
    if any(mine[key] != other[key] for key in ("films_sha256", "seed", "rounds")):
        raise NotComparable(f"{names}: the films or their truth changed between the evaluations. Evaluate both again.")
    if measured_labels(report) != measured_labels(first):
        raise NotComparable(f"{names}: their means are over different findings.")
    found = difference(report, first, _means(mine) - _means(other))
    if found["mean_auroc"] is None or found["ci95"] is None:
        raise NotComparable(f"{names}: the films are too few, or of one kind only, for an AUROC.")
    return found


def difference(report: Mapping[str, Any], first: Mapping[str, Any], samples: NDArray[np.float64]) -> dict[str, Any]:
    """Difference of mean AUROC from the `first` report, with the interval of the `samples` (R,), or nulls."""
    found = interval(samples)
    both = first["mean_auroc"] is not None and report["mean_auroc"] is not None
    return {
        "mean_auroc": report["mean_auroc"] - first["mean_auroc"] if both else None,
        "ci95": found.pair() if found else None,
        "better_share": float(np.mean(samples[np.isfinite(samples)] > 0)) if found else None,
    }


def _means(kept: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(kept["mean_auroc"]), "<f4").astype(np.float64)


def measured_labels(report: Mapping[str, Any]) -> set[str]:
    """The findings that a report's mean includes."""
    return {label for label, entry in report["labels"].items() if entry["auroc"] is not None}
