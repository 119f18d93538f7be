"""From a trained network and its held-out outputs to a complete artifact: all that serving needs."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml.alarms import FEWEST_NORMALS, JOINT_BUDGET, AlarmBudget, alarms, is_normal
from ml.labels import LABELS
from ml.metrics import calibration_error, operating_curve, youden_threshold
from ml.model import golden_image
from ml.model.artifact import half_precision, save_artifact
from ml.model.calibration import AbnormalScore, Platt, any_finding_logit, calibrate, fit_platt
from ml.model.ensemble import members_of
from ml.model.held_out import HeldOutRecord
from ml.model.input_check import FeatureCheck
from ml.model.manifest import Manifest, Threshold
from ml.model.networks import CamNetwork
from ml.model.saliency import CamScale, fit_cam_scale
from ml.model.transforms import InputSpace
from ml.model.uncertainty import fit_margin, uncertain
from ml.training.feature_check import describe
from ml.training.forward import Outputs, run

_CURVE_POINTS = 60
MIN_POSITIVES = 10
DISCLAIMER = "Demonstration only. Investigational. Not for diagnostic use."


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Outputs of the network that is packaged, on images that it was not fitted on.

    Attributes:
        outputs: of the images.
        truth: (N, L) of 0, 1 and NaN (unknown).
        patients: one per image.
        views: "PA", "AP" or "" (unknown) per image.
        varied: logits (N, L) of the same images mirrored and zoomed (`ml.model.variants`).
        labels: names of the L columns.
    """

    outputs: Outputs
    truth: NDArray[np.float32]
    patients: Sequence[str]
    views: Sequence[str]
    varied: Sequence[NDArray[np.float32]] = ()
    labels: tuple[str, ...] = LABELS

    def counts(self, column: int) -> tuple[int, int]:
        """Images known to be with and without one label."""
        return int((self.truth[:, column] > 0).sum()), int((self.truth[:, column] == 0).sum())


def calibration_of(held: HeldOut) -> dict[str, Platt]:
    """Platt parameters per label; the identity where held-out images lack one of the classes."""
    fits = {}
    for column, label in enumerate(held.labels):
        positives, negatives = held.counts(column)
        usable = positives > 0 and negatives > 0
        fits[label] = fit_platt(held.outputs.logits[:, column], held.truth[:, column]) if usable else Platt()
    return fits


def operating_points(
    held: HeldOut, calibration: Mapping[str, Platt]
) -> tuple[dict[str, Threshold | None], dict[str, str]]:
    """Thresholds on calibrated probability that keep the alarm budget, and the reason for each label that has none.

    With too few normal images for a budget, they are Youden's.
    """
    probabilities = calibrate(held.outputs.logits, held.labels, calibration)
    counts = [held.counts(column) for column in range(len(held.labels))]
    usable = np.array([positives >= MIN_POSITIVES and negatives > 0 for positives, negatives in counts])
    if is_normal(held.truth).sum() >= FEWEST_NORMALS:
        strategy = "alarm_budget"
        values = AlarmBudget().thresholds(probabilities, held.truth, held.views, held.patients, usable)
    else:
        strategy, values = "youden", np.full(len(held.labels), np.nan)
        for column in np.flatnonzero(usable).tolist():
            values[column] = youden_threshold(held.truth[:, column], probabilities[:, column])
    points: dict[str, Threshold | None] = dict.fromkeys(held.labels)
    notes: dict[str, str] = {}
    for column, label in enumerate(held.labels):
        positives = counts[column][0]
        if usable[column]:
            points[label] = Threshold(float(np.clip(values[column], 1e-6, 1 - 1e-6)), strategy, positives)
        else:
            notes[label] = f"No operating point: {positives} positive validation films, {MIN_POSITIVES} are needed."
    return points, notes


def abnormal_score(held: HeldOut, probabilities: NDArray[np.float64]) -> AbnormalScore | None:
    """The study-level score, with a threshold that flags JOINT_BUDGET of the normal images.

    Returns:
        None with fewer than FEWEST_NORMALS normal images, or fewer than MIN_POSITIVES with a finding.
    """
    normal, finding = is_normal(held.truth), np.asarray((held.truth > 0).any(axis=1))
    if normal.sum() < FEWEST_NORMALS or finding.sum() < MIN_POSITIVES:
        return None
    known = normal | finding
    fit = fit_platt(any_finding_logit(probabilities)[known], finding[known])
    score = AbnormalScore(fit.a, fit.b, 0.5)
    threshold = float(np.quantile(score.probability(probabilities[normal]), 1 - JOINT_BUDGET))
    return replace(score, threshold=float(np.clip(threshold, 1e-6, 1 - 1e-6)))


def margins(
    held: HeldOut, calibration: Mapping[str, Platt], points: Mapping[str, Threshold | None]
) -> dict[str, float] | None:
    """Half width of the uncertain band around each operating point; None without readings of varied images."""
    if not held.varied:
        return None
    fitted = {}
    for column, label in enumerate(held.labels):
        point, platt = points[label], calibration[label]
        if point is not None:
            plain, *varied = (platt.a * each[:, column] + platt.b for each in (held.outputs.logits, *held.varied))
            fitted[label] = fit_margin(plain, varied, point.value)
    return fitted


def alarm_figures(
    held: HeldOut,
    probabilities: NDArray[np.float64],
    points: Mapping[str, Threshold | None],
    found: Mapping[str, float] | None,
) -> dict[str, Any]:
    """What the operating points do on the held-out images: alarms, and the share of uncertain calls."""
    values = {label: point.value for label, point in points.items() if point is not None}
    called = probabilities >= np.array([values.get(label, np.inf) for label in held.labels])
    figures: dict[str, Any] = {"alarms": {"validation": alarms(called, held.truth, held.views, held.labels)}}
    if found is not None and values:
        doubtful = uncertain(probabilities, held.labels, values, found)[:, [label in values for label in held.labels]]
        figures["uncertain"] = {"validation": {"share": float(doubtful.mean())}}
    return figures


def operating_curves(
    held: HeldOut, probabilities: NDArray[np.float64], points: Mapping[str, Threshold | None]
) -> dict[str, list[list[float]]]:
    """Threshold, sensitivity and specificity along the curve of each label that has an operating point.

    With them, another operating point can be chosen for a version in service.
    """
    return {
        label: operating_curve(held.truth[:, column], probabilities[:, column], _CURVE_POINTS).round(6).tolist()
        for column, label in enumerate(held.labels)
        if points[label] is not None
    }


def cam_scales(held: HeldOut) -> dict[str, CamScale]:
    """Fixed display range per label, in logit units."""
    return {label: fit_cam_scale(held.outputs.cams[:, column]) for column, label in enumerate(held.labels)}


def rounded_tensors(network: CamNetwork) -> dict[str, NDArray[Any]]:
    """The network's tensors as the artifact stores them, half precision where that is safe."""
    return half_precision({k: v.detach().cpu().numpy() for k, v in network.state_dict().items()})


def load_rounded(network: CamNetwork, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Put stored tensors back, so that figures are measured on exactly what is served."""
    state = network.state_dict()
    network.load_state_dict({k: torch.from_numpy(np.asarray(v)).to(state[k]) for k, v in tensors.items()})


def card(description: "Description", metrics: Mapping[str, Any]) -> str:
    """The model card, Markdown."""
    data = description.data
    lines = [
        f"# {description.name}",
        "",
        f"**{DISCLAIMER}**",
        "",
        f"Architecture: {description.architecture}, {_pooling(description)}, one linear layer.",
        "",
        f"Training: {description.recipe}",
        "",
        f"Data: {data['source']}",
        "",
    ]
    for part in ("train", "validation", "test"):
        if part in data:
            lines.append(f"- {part}: {data[part]['films']} films of {data[part]['patients']} patients")
    lines += ["", f"Split: {data['split_id']} (lists' SHA-256 {data['split_sha256']}).", ""]
    for part in ("test", "validation"):
        if part in metrics:
            lines += _table(part, metrics[part])
    lines += describe(metrics.get("gate", {}))
    lines += ["## What was not run", "", *(f"- {line}" for line in not_run(metrics)), ""]
    lines += [f"Limits: {description.limits}", ""]
    return "\n".join(lines)


def _pooling(description: "Description") -> str:
    if not description.has_map:
        return "the network's own pooling (no exact map: no heatmap is drawn, and no place is named)"
    members = len(members_of(description.architecture))
    return f"the mean of {members} networks, each with global average pooling" if members else "global average pooling"


def not_run(metrics: Mapping[str, Any]) -> list[str]:
    """What a reader of the card might expect, and what was not done."""
    test = (
        "No figures by subgroup, and no localisation on boxes: `evaluate_model` gives both."
        if "test" in metrics
        else "The test list was not opened: no film of it, no subgroups, no boxes. `evaluate_model` does that, once."
    )
    return [
        test,
        "NIH's official test list counts only where the split above is called NIH's official lists.",
        "No second training: the spread between seeds is unknown."
        if "members" not in metrics
        else "No second ensemble: how much its figures vary with other seeds is unknown.",
        "No reading by radiologists, no films of another hospital, no clinical study.",
    ]


def _table(part: str, report: Mapping[str, Any]) -> list[str]:
    mean = _value(report["mean_auroc"], report["ci95"])
    rest = _value(report["mean_auroc_without_pneumonia"], report["ci95_without_pneumonia"])
    rows = [
        f"## AUROC on the {part} films ({report['n']} films, {report['patients']} patients)",
        "",
        f"Mean {mean}; without Pneumonia {rest}. 95 % intervals by a bootstrap over patients.",
        "",
        "| finding | AUROC (95 % CI) | positives |",
        "| --- | --- | --- |",
    ]
    rows += [
        f"| {label} | {_value(entry['auroc'], entry['ci95'])} | {entry['positives']} |"
        for label, entry in report["labels"].items()
    ]
    return [*rows, ""]


def _value(value: float | None, ci95: Sequence[float] | None) -> str:
    if value is None:
        return "not defined"
    return f"{value:.3f}" + (f" ({ci95[0]:.3f} to {ci95[1]:.3f})" if ci95 else "")


def golden_logits(network: CamNetwork, space: InputSpace) -> tuple[float, ...]:
    """The answer to the golden image, on a CPU in float32: what every machine that serves the network must repeat."""
    reference = copy.deepcopy(network).cpu().float()
    return tuple(map(float, run(reference, golden_image.square(space.size)[None], space).logits[0]))


@dataclass(frozen=True)
class Description:
    """The texts and data that describe a version beside its figures."""

    name: str
    architecture: str
    recipe: str
    data: Mapping[str, Any]
    limits: str
    stages: tuple[str, ...] | None = None
    localisation: Mapping[str, Mapping[str, Any]] | None = None
    has_map: bool = True


def package(
    directory: Path,
    network: CamNetwork,
    space: InputSpace,
    held: HeldOut,
    description: Description,
    metrics: Mapping[str, Any],
    gate: FeatureCheck | None,
) -> Manifest:
    """Write the artifact of `network` (weights as they are: round them before measuring). Raises ArtifactInvalid."""
    calibration = calibration_of(held)
    points, notes = operating_points(held, calibration)
    probabilities = calibrate(held.outputs.logits, held.labels, calibration)
    errors = {
        label: calibration_error(held.truth[:, i], probabilities[:, i]) if sum(held.counts(i)) else None
        for i, label in enumerate(held.labels)
    }
    score, found = abnormal_score(held, probabilities), margins(held, calibration, points)
    figures = {
        **metrics,
        **alarm_figures(held, probabilities, points, found),
        "calibration_error": {"bins": 15, "validation": errors},
        "operating_curve": {"validation": operating_curves(held, probabilities, points)},
    }
    height, width = held.outputs.cams.shape[2:]
    manifest = Manifest(
        name=description.name,
        architecture=description.architecture,
        input_space=space,
        grid=(height, width),
        thresholds=points,
        threshold_notes=notes,
        calibration=calibration,
        cam_scale=cam_scales(held),
        gate=None,
        metrics=figures,
        data=dict(description.data),
        card=card(description, metrics),
        weights_sha256="",
        labels=held.labels,
        golden_logits=golden_logits(network, space),
        stages=description.stages,
        abnormal=score,
        margins=found,
        localisation=description.localisation,
    )
    _, patients = np.unique(np.asarray(held.patients), return_inverse=True)
    record = HeldOutRecord(held.outputs.logits, held.truth, np.array(held.views), patients.astype(np.int32))
    return save_artifact(directory, manifest, rounded_tensors(network), gate, record)
