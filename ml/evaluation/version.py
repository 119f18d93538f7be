"""Evaluate one version on one list of images and return all figures, ready for JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.alarms import alarms
from ml.bootstrap import ROUNDS, Draws, bootstrap_ranking
from ml.data import Box, find_layout, read_boxes
from ml.evaluation.figures import Scored, classification
from ml.evaluation.image_list import (
    OFFICIAL_TEST,
    ImageList,
    VersionOutputs,
    check_unseen,
    read_image_list,
    run_version,
)
from ml.evaluation.localisation import Maps, by_label, localisation
from ml.evaluation.pairing import rounds_of
from ml.evaluation.study_level import abnormal_figures, uncertain_figures
from ml.evaluation.subgroups import subgroups
from ml.labels import LABELS
from ml.metrics import round_means
from ml.model.calibration import Platt
from ml.model.manifest import Manifest, read_manifest
from ml.model.predictor import Predictor, load_predictor

SEED = 0
UNTRAINED = "The version was not trained to find it."


def evaluate_version(
    artifact_dir: Path,
    data: Path,
    split: Path | None,
    cache_dir: Path,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Evaluate the artifact on the images of `split`, or on those that the folder keeps for evaluation.

    Returns:
        JSON-ready figures: the keys of `ml.evaluation.figures.classification`, and "model", "split" {"id", "sha256",
        "films"}, "normals_flagged" and "findings_flagged" (of `alarms`), "subgroups", "abnormal" and "uncertain" (None
        where the version has no such part), "localisation" by label with its "localisation_details" (empty with a
        "localisation_note"), "gate" (the input check), "method", "bootstrap" (for `paired_difference`) and "not_run",
        a list of what these figures do not cover.

    Raises:
        EvaluationRefused: the version has seen patients of the list.
        DatasetInvalid, ArtifactInvalid, PredictorUnavailable: the data or the version can't be used.
    """
    image_list = read_image_list(data, split)
    unchecked = check_unseen(read_manifest(artifact_dir), image_list)
    predictor = open_predictor(artifact_dir, cache_dir, device)
    all_boxes = read_boxes(image_list.root, dict(image_list.table))
    chosen = set(image_list.names)
    boxes = [box for box in all_boxes if box.image in chosen and box.label in predictor.manifest.labels]
    outputs = run_version(predictor, image_list, Path(cache_dir) / "films", {box.image for box in boxes})
    scored = score_images(predictor.manifest, image_list, outputs)
    draws = Draws.of(scored.patients, rounds, SEED)
    ranking = bootstrap_ranking(scored.truth, scored.logits, draws)
    located, why_missing = _localise(predictor.manifest, image_list, boxes, all_boxes, outputs, rounds)
    truth, views = np.asarray(image_list.truth), [record.view for record in image_list.records]
    flagged = alarms(scored.called > 0, truth, views, LABELS)
    findings_flagged = flagged.pop("findings_flagged")
    report = {
        "model": describe_model(predictor),
        "split": {"id": image_list.split_id, "sha256": image_list.sha256, "films": len(image_list.names)},
        **classification(scored, draws, ranking),
        "normals_flagged": flagged,
        "findings_flagged": findings_flagged,
        "subgroups": subgroups(scored, image_list.records, draws),
        "abnormal": abnormal_figures(predictor.manifest, scored, image_list.truth, draws),
        "uncertain": uncertain_figures(predictor.manifest, scored),
        "localisation": by_label(located) if located else {},
        "localisation_details": located,
        "localisation_note": why_missing,
        "gate": {"films": len(image_list.names), "refused": outputs.refused},
        "method": {"rounds": rounds, "seed": SEED, "text": METHOD},
        "bootstrap": rounds_of(image_list, round_means(ranking[0]), SEED),
    }
    return {**report, "not_run": _not_run(report, unchecked, find_layout(image_list.root).truth)}


METHOD = (
    "95 % intervals: percentiles of a bootstrap over patients, all figures from the same draws; a share of exactly 0 "
    "or 1 has Wilson's interval over patients. A mean over labels weighs each label alike and leaves out labels "
    "without both classes. Every film of the list counts, also those that the input check would refuse. ECE: 15 "
    "equal-mass bins; `raw` is the plain sigmoid, `platt` the version's stored calibration, fitted on its validation "
    "films."
)


def open_predictor(artifact_dir: Path, cache_dir: Path, device: Literal["auto", "cpu", "cuda"]) -> Predictor:
    """Load the predictor of serving. Raises ArtifactInvalid, PredictorUnavailable."""
    return load_predictor(Path(artifact_dir), device, Path(cache_dir) / "graphs")


def describe_model(predictor: Predictor) -> dict[str, Any]:
    """Identity of the version and of its training data, for the report."""
    manifest = predictor.manifest
    keys = ("source", "split_id", "split_sha256")
    parts = {
        part: {key: manifest.data[part][key] for key in ("films", "patients")}
        for part in ("train", "validation")
        if part in manifest.data
    }
    return {
        "name": manifest.name,
        "architecture": manifest.architecture,
        "sha256": manifest.sha256,
        "input_size": manifest.input_space.size,
        "runs_on": predictor.runs_on,
        "trained_on": {**{key: manifest.data.get(key) for key in keys}, **parts},
    }


def score_images(manifest: Manifest, image_list: ImageList, outputs: VersionOutputs) -> Scored:
    """Combine outputs and truth. The truth of labels that the version was not trained on is set to unknown."""
    return Scored(
        *mask_untrained(image_list.truth, outputs.logits),
        image_list.patients,
        {label: manifest.thresholds.get(label) for label in LABELS},
        {label: manifest.calibration.get(label, Platt()) for label in LABELS},
        {label: UNTRAINED for label in LABELS if label not in manifest.labels} | dict(manifest.threshold_notes),
        np.asarray(image_list.truth, dtype=np.float64),
    )


def mask_untrained(truth: NDArray[Any], logits: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a logit is NaN (not trained), set the truth (N, 14) to NaN and the logit (N, 14) to 0."""
    untrained = np.isnan(logits)
    return np.where(untrained, np.nan, truth), np.where(untrained, 0.0, logits)


def _localise(
    manifest: Manifest,
    image_list: ImageList,
    boxes: list[Box],
    all_boxes: tuple[Box, ...],
    outputs: VersionOutputs,
    rounds: int,
) -> tuple[dict[str, Any] | None, str | None]:
    if not all_boxes:
        return None, "The folder has no boxes of findings (NIH's are in BBox_List_2017.csv)."
    if not boxes:
        return None, "None of the listed films has a box."
    patients = {box.image: image_list.table[box.image].patient for box in all_boxes}
    maps = Maps(outputs.cams, manifest.cam_scale, manifest.input_space)
    return localisation(boxes, all_boxes, patients, maps, rounds, SEED), None


def _not_run(report: Mapping[str, Any], unchecked: str | None, truth: str) -> list[str]:
    lines = [
        f"Agreement with other readers: the labels were {truth}.",
        "Films of other hospitals and devices than this folder's.",
        "Other trainings of the same recipe: the spread between seeds is unknown.",
    ]
    if report["split"]["id"] != OFFICIAL_TEST:
        lines.append("NIH's official test list: figures of another list can't be compared with figures of that one.")
    if unchecked:
        lines.append(unchecked)
    if report["localisation_note"]:
        lines.append(f"Localisation: {report['localisation_note']}")
    untrained = [label for label, entry in report["labels"].items() if entry["operating_point_note"] == UNTRAINED]
    if untrained:
        lines.append(f"{', '.join(untrained)}: the version was not trained to find them.")
    without = [label for label, entry in report["labels"].items() if entry["auroc"] is None and label not in untrained]
    if without:
        lines.append(f"AUROC of {', '.join(without)}: the list lacks films with or without the finding.")
    without_point = [label for label, entry in report["labels"].items() if entry["operating_point"] is None]
    if without_point := [label for label in without_point if label not in untrained]:
        lines.append(f"Operating points of {', '.join(without_point)}: the version has none.")
    return lines
