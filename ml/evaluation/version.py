"""The whole evaluation of one version on one list of films, as JSON-ready figures that say what they rest on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.bootstrap import ROUNDS, Draws, bootstrap_ranking
from ml.data import Box, read_boxes
from ml.evaluation.figures import Scored, classification
from ml.evaluation.image_list import OFFICIAL_TEST, ImageList, VersionOutputs, ask, check_unseen, read_image_list
from ml.evaluation.localisation import Maps, localisation
from ml.evaluation.pairing import rounds_of
from ml.evaluation.subgroups import subgroups
from ml.labels import LABELS
from ml.metrics import round_means
from ml.model.artifact import Manifest, read_manifest
from ml.model.calibration import Platt
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
    """Evaluate the artifact on the films of `split`, or on those that the folder keeps for evaluation.

    Returns JSON-ready figures: `ml.metrics.evaluate`'s and `ml.evaluation.figures.classification`'s keys, with "model",
    "split" {"id", "sha256", "films"}, "subgroups", "localisation" (None: "localisation_note" says why), "gate",
    "method", "bootstrap" (for `paired_difference`) and "not_run", the list of what these figures do not cover. Raises
    EvaluationRefused, DatasetInvalid, ArtifactInvalid, PredictorUnavailable.
    """
    listed = read_image_list(data, split)
    unchecked = check_unseen(read_manifest(artifact_dir), listed)
    predictor = open_predictor(artifact_dir, cache_dir, device)
    every = read_boxes(listed.root, dict(listed.table))
    chosen = set(listed.names)
    boxes = [box for box in every if box.image in chosen and box.label in predictor.manifest.labels]
    said = ask(predictor, listed, Path(cache_dir) / "films", {box.image for box in boxes})
    scored = scored_films(predictor.manifest, listed, said)
    draws = Draws.of(scored.patients, rounds, SEED)
    ranking = bootstrap_ranking(scored.truth, scored.logits, draws)
    located, why_not = _located(predictor.manifest, listed, boxes, every, said, rounds)
    report = {
        "model": described(predictor),
        "split": {"id": listed.split_id, "sha256": listed.sha256, "films": len(listed.names)},
        **classification(scored, draws, ranking),
        "subgroups": subgroups(scored, listed.films, draws),
        "localisation": located,
        "localisation_note": why_not,
        "gate": {"films": len(listed.names), "refused": said.refused},
        "method": {"rounds": rounds, "seed": SEED, "text": METHOD},
        "bootstrap": rounds_of(listed, round_means(ranking[0]), SEED),
    }
    return {**report, "not_run": _not_run(report, unchecked)}


METHOD = (
    "95 % intervals: percentiles of a bootstrap over patients, all figures from the same draws; a share of exactly 0 "
    "or 1 has Wilson's interval over patients. A mean over labels weighs each label alike and leaves out labels "
    "without both classes. Every film of the list counts, also those that the gate would refuse. ECE: 15 equal-mass "
    "bins; `raw` is the plain sigmoid, `platt` the version's stored calibration, fitted on its validation films."
)


def open_predictor(artifact_dir: Path, cache_dir: Path, device: Literal["auto", "cpu", "cuda"]) -> Predictor:
    """The predictor that also serves. Raises ArtifactInvalid, PredictorUnavailable."""
    return load_predictor(Path(artifact_dir), device, Path(cache_dir) / "graphs")


def described(predictor: Predictor) -> dict[str, Any]:
    """Who was judged, and on what it was trained."""
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


def scored_films(manifest: Manifest, listed: ImageList, said: VersionOutputs) -> Scored:
    """What figures are computed from. Of findings that the version was not trained for nothing counts as known."""
    return Scored(
        *known(listed.truth, said.logits),
        listed.patients,
        {label: manifest.thresholds.get(label) for label in LABELS},
        {label: manifest.calibration.get(label, Platt()) for label in LABELS},
        {label: UNTRAINED for label in LABELS if label not in manifest.labels} | dict(manifest.threshold_notes),
    )


def known(truth: NDArray[Any], logits: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Truth (N, 14) that is NaN, and logits (N, 14) that are 0, where the version says nothing (NaN)."""
    silent = np.isnan(logits)
    return np.where(silent, np.nan, truth), np.where(silent, 0.0, logits)


def _located(
    manifest: Manifest, listed: ImageList, boxes: list[Box], every: tuple[Box, ...], said: VersionOutputs, rounds: int
) -> tuple[dict[str, Any] | None, str | None]:
    if not every:
        return None, "The folder has no list of boxes (BBox_List_2017.csv)."
    if not boxes:
        return None, "None of the listed films has a box."
    patients = {box.image: listed.table[box.image].patient for box in every}
    maps = Maps(said.cams, manifest.cam_scale, manifest.input_space)
    return localisation(boxes, every, patients, maps, rounds, SEED), None


def _not_run(report: Mapping[str, Any], unchecked: str | None) -> list[str]:
    lines = [
        "Agreement with radiologists: the truth is the label mined from the report.",
        "Films of other hospitals and devices than this folder's.",
        "Other trainings of the same recipe: the spread between seeds is unknown.",
    ]
    if report["split"]["id"] != OFFICIAL_TEST:
        lines.append("NIH's official test list: figures of another list can't be compared with figures of that one.")
    if unchecked:
        lines.append(unchecked)
    if report["localisation_note"]:
        lines.append(f"Localisation: {report['localisation_note']}")
    silent = [label for label, entry in report["labels"].items() if entry["operating_point_note"] == UNTRAINED]
    if silent:
        lines.append(f"{', '.join(silent)}: the version was not trained to find them.")
    without = [label for label, entry in report["labels"].items() if entry["auroc"] is None and label not in silent]
    if without:
        lines.append(f"AUROC of {', '.join(without)}: the list lacks films with or without the finding.")
    unjudged = [label for label, entry in report["labels"].items() if entry["operating_point"] is None]
    if unjudged := [label for label in unjudged if label not in silent]:
        lines.append(f"Operating points of {', '.join(unjudged)}: the version has none.")
    return lines
