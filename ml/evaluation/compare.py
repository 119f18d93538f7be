"""Compare several versions on the same list of images, with paired differences (Table 2 of the paper)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.bootstrap import ROUNDS, Draws, bootstrap_ranking
from ml.evaluation.image_list import check_unseen, read_image_list, run_version
from ml.evaluation.pairing import difference, measured_labels
from ml.evaluation.version import SEED, describe_model, mask_untrained, open_predictor
from ml.labels import LABELS
from ml.metrics import evaluate, round_means
from ml.model.manifest import read_manifest


def compare_versions(
    artifact_dirs: Sequence[Path],
    data: Path,
    split: Path | None,
    cache_dir: Path,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Evaluate two or more artifacts on the same images.

    Differences of mean AUROC are relative to the first. They are paired: each bootstrap round uses the same patients
    for both versions, so the difficulty of the images cancels out.

    Returns:
        {"split", "n", "patients", "rows", "not_run"}. Each row is a report for `table2` with "model" and, from the
        second on, "difference" {"mean_auroc", "ci95", "better_share"}.

    Raises:
        ValueError: fewer than two artifacts. Other errors as `evaluate_version`.
    """
    if len(artifact_dirs) < 2:
        raise ValueError("A comparison needs two versions or more.")
    image_list = read_image_list(data, split)
    unchecked = [check_unseen(read_manifest(path), image_list) for path in artifact_dirs]
    predictors = [open_predictor(path, cache_dir, device) for path in artifact_dirs]
    patients = image_list.patients
    draws = Draws.of(patients, rounds, SEED)
    split_card = {"id": image_list.split_id, "sha256": image_list.sha256, "films": len(image_list.names)}
    rows: list[dict[str, Any]] = []
    means: list[NDArray[np.float64]] = []
    for predictor in predictors:
        truth, logits = mask_untrained(
            image_list.truth, run_version(predictor, image_list, Path(cache_dir) / "films").logits
        )
        ranking = bootstrap_ranking(truth, logits, draws)
        means.append(round_means(ranking[0]))
        report = evaluate(truth, logits, patients, LABELS, draws=draws, ranking=ranking)
        rows.append({"model": describe_model(predictor), "split": split_card, **report})
    for row, samples in zip(rows[1:], means[1:], strict=True):
        if measured_labels(row) == measured_labels(rows[0]):
            row["difference"] = difference(row, rows[0], samples - means[0])
    notes = [f"{row['model']['name']}: {note}" for row, note in zip(rows, unchecked, strict=True) if note]
    return {
        "split": split_card,
        "n": len(image_list.names),
        "patients": len(set(patients)),
        "rows": rows,
        "not_run": [*notes, "Other seeds of each training: one run each says nothing of the spread between runs."],
    }
