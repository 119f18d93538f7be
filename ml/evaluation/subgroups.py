"""Figures for subgroups by sex, age band and view, at the same thresholds for all groups.

A gap compares a group with all other images whose attribute is known. Underdiagnosis is the share of images with a
finding on which no label reaches its operating point (Seyyed-Kalantari et al. 2021); overdiagnosis is the share of
images without any finding on which one does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.bootstrap import Draws, bootstrap_ranking, bootstrap_shares, interval
from ml.data import ImageRecord
from ml.evaluation.figures import Scored, share
from ml.labels import LABELS
from ml.metrics import auroc, mean_of

MIN_POSITIVES = 10
AGE_BANDS = (("<20", 0, 20), ("20-40", 20, 40), ("40-60", 40, 60), ("60-80", 60, 80), ("80+", 80, 200))
DISCLOSED_GAP, DISCLOSED_POSITIVES = 0.15, 50


def memberships(records: Sequence[ImageRecord]) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Masks (N,) as {"sex": {"F": mask, ...}, "age": ..., "view": ...}; an unknown attribute is in no group."""
    sex = np.array([record.sex for record in records])
    view = np.array([record.view for record in records])
    age = np.array([-1 if record.age is None else record.age for record in records])
    return {
        "sex": {name: sex == name for name in ("F", "M")},
        "age": {name: (age >= low) & (age < high) for name, low, high in AGE_BANDS},
        "view": {name: view == name for name in ("PA", "AP")},
    }


def subgroups(scored: Scored, records: Sequence[ImageRecord], draws: Draws) -> dict[str, Any]:
    """Figures per family ("sex", "age", "view"): {"common_labels", "groups": {name: figures}}, without empty groups.

    `mean_auroc` of a group includes every label with both classes there. `mean_auroc_common` includes only labels with
    enough images of both classes in each group of the family, so only the latter is comparable between groups.
    """
    return {name: _family(scored, groups, draws) for name, groups in memberships(records).items()}


def _family(scored: Scored, groups: Mapping[str, NDArray[np.bool_]], draws: Draws) -> dict[str, Any]:
    present = {name: mask for name, mask in groups.items() if mask.any()}
    enough = [_enough(scored.truth[mask]) for mask in present.values()]
    common = np.logical_and.reduce(enough) if enough else np.zeros(len(LABELS), dtype=bool)
    all_known = np.logical_or.reduce(list(groups.values()))
    return {
        "common_labels": [label for label, used in zip(LABELS, common, strict=True) if used],
        "groups": {name: _group(scored, mask, all_known & ~mask, common, draws) for name, mask in present.items()},
    }


def _enough(truth: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(((truth > 0).sum(axis=0) >= MIN_POSITIVES) & ((truth == 0).sum(axis=0) >= MIN_POSITIVES))


def _group(
    scored: Scored,
    mask: NDArray[np.bool_],
    rest: NDArray[np.bool_],
    common: NDArray[np.bool_],
    draws: Draws,
) -> dict[str, Any]:
    truth, logits, among = scored.truth[mask], scored.logits[mask], draws.subset(mask)
    samples, _ = bootstrap_ranking(truth, logits, among)
    both = (truth > 0).any(axis=0) & (truth == 0).any(axis=0)
    values = {i: auroc(truth[:, i], logits[:, i]) for i in np.flatnonzero(both).tolist()}
    mean, ci95 = mean_of(list(values.values()), samples[:, list(values)])
    shared = np.flatnonzero(common).tolist()
    common_mean, common_ci95 = mean_of([values[i] for i in shared], samples[:, shared])
    shown = _enough(truth)
    labels = _gaps(scored, mask, rest, draws)
    for column, label in enumerate(LABELS):
        found = interval(samples[:, column])
        labels[label] |= {
            "auroc": values[column] if shown[column] else None,
            "ci95": found.pair() if shown[column] and found else None,
            "reason": None if shown[column] else f"Under {MIN_POSITIVES} films with or without the finding.",
        }
    return {
        "n": int(mask.sum()),
        "patients": len(np.unique(among.group)),
        "mean_auroc": mean,
        "ci95": ci95,
        "labels_in_mean": len(values),
        "mean_auroc_common": common_mean,
        "ci95_common": common_ci95,
        **_missed(scored, mask, draws),
        "largest_tpr_gap": _largest(labels),
        "gaps_to_disclose": [
            label
            for label, entry in labels.items()
            if entry["tpr_gap"] is not None
            and entry["positives"] >= DISCLOSED_POSITIVES
            and abs(entry["tpr_gap"]) > DISCLOSED_GAP
        ],
        "labels": labels,
    }


def _gaps(scored: Scored, mask: NDArray[np.bool_], rest: NDArray[np.bool_], draws: Draws) -> dict[str, dict[str, Any]]:
    called, truth = scored.called, scored.truth
    result: dict[str, dict[str, Any]] = {
        label: {"positives": int((truth[mask, i] > 0).sum()), "negatives": int((truth[mask, i] == 0).sum())}
        for i, label in enumerate(LABELS)
    }
    for name, wanted in (("tpr", truth > 0), ("fpr", truth == 0)):
        inside, outside = wanted & mask[:, None], wanted & rest[:, None]
        own_samples, rest_samples = (bootstrap_shares(called > 0, among, draws) for among in (inside, outside))
        for column, label in enumerate(LABELS):
            records, others = inside[:, column], outside[:, column]
            usable = not np.isnan(called[:, column]).any()
            own = usable and records.sum() >= MIN_POSITIVES
            value = float(called[records, column].mean()) if own else None
            both = own and others.sum() >= MIN_POSITIVES
            gap = float(called[records, column].mean() - called[others, column].mean()) if both else None
            found = interval(own_samples[:, column] - rest_samples[:, column]) if both else None
            result[label] |= {name: value, f"{name}_gap": gap, f"{name}_gap_ci95": found.pair() if found else None}
    return result


def _missed(scored: Scored, mask: NDArray[np.bool_], draws: Draws) -> dict[str, Any]:
    """Underdiagnosis, and alarms on images without any finding; labels without a threshold never raise an alarm."""
    any_called = np.asarray((scored.called > 0).any(axis=1))
    finding = np.asarray((scored.truth > 0).any(axis=1))
    result: dict[str, Any] = {}
    for name, hits, among in (("underdiagnosis", ~any_called, finding), ("overdiagnosis", any_called, scored.normal)):
        chosen = among & mask
        samples = bootstrap_shares(hits[:, None], chosen[:, None], draws)[:, 0]
        result |= share(name, hits, chosen, samples, draws)
    return result


def _largest(labels: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    gaps = {label: entry["tpr_gap"] for label, entry in labels.items() if entry["tpr_gap"] is not None}
    if not gaps:
        return None
    label = max(gaps, key=lambda name: abs(gaps[name]))
    return {"label": label, "gap": gaps[label], "positives": labels[label]["positives"]}
