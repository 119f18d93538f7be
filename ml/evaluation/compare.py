"""Several versions on one and the same list: the paper's Table 2, with paired differences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.bootstrap import ROUNDS, Draws, bootstrap_ranking
from ml.evaluation.image_list import ask, check_unseen, read_image_list
from ml.evaluation.pairing import difference, measured_labels
from ml.evaluation.version import SEED, described, known, open_predictor
from ml.labels import LABELS
from ml.metrics import evaluate, round_means
from ml.model.artifact import read_manifest


def compare_versions(
    artifact_dirs: Sequence[Path],
    data: Path,
    split: Path | None,
    cache_dir: Path,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Evaluate two or more artifacts on the same films; differences of mean AUROC are from the first.

    Returns {"split", "n", "patients", "rows", "not_run"}; each row is a report for `table2` with "model" and, from the
    second on, "difference" {"mean_auroc", "ci95", "better_share"}: both versions are judged on the same drawn patients,
    which takes out how hard the films are. Raises as `evaluate_version`, and ValueError for fewer than two.
    """
    if len(artifact_dirs) < 2:
        raise ValueError("A comparison needs two versions or more.")
    listed = read_image_list(data, split)
    unchecked = [check_unseen(read_manifest(path), listed) for path in artifact_dirs]
    predictors = [open_predictor(path, cache_dir, device) for path in artifact_dirs]
    patients = listed.patients
    draws = Draws.of(patients, rounds, SEED)
    split_card = {"id": listed.split_id, "sha256": listed.sha256, "films": len(listed.names)}
    rows: list[dict[str, Any]] = []
    means: list[NDArray[np.float64]] = []
    for predictor in predictors:
        truth, logits = known(listed.truth, ask(predictor, listed, Path(cache_dir) / "films").logits)
        ranking = bootstrap_ranking(truth, logits, draws)
        means.append(round_means(ranking[0]))
        report = evaluate(truth, logits, patients, LABELS, draws=draws, ranking=ranking)
        rows.append({"model": described(predictor), "split": split_card, **report})
    for row, samples in zip(rows[1:], means[1:], strict=True):
        if measured_labels(row) == measured_labels(rows[0]):
            row["difference"] = difference(row, rows[0], samples - means[0])
    notes = [f"{row['model']['name']}: {note}" for row, note in zip(rows, unchecked, strict=True) if note]
    return {
        "split": split_card,
        "n": len(listed.names),
        "patients": len(set(patients)),
        "rows": rows,
        "not_run": [*notes, "Other seeds of each training: one run each says nothing of the spread between runs."],
    }
