"""Services of evaluation: the operator's evaluation sets, the evaluation jobs, and their results."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.validators import slug_re
from django.db import IntegrityError, transaction

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.work_queue import Queue
from apps.evaluation.archives import unpack
from apps.evaluation.folders import empty_upload_folder, require_folder, require_usable, root_of
from apps.evaluation.models import Evaluation, EvaluationJob, EvaluationSet
from apps.evaluation.signals import evaluation_ended
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import record_localisation


def _send_evaluation_ended(
    version: ModelVersion, evaluation_set: EvaluationSet | None, evaluation: Evaluation | None
) -> None:
    evaluation_ended.send(Evaluation, version=version, evaluation_set=evaluation_set, evaluation=evaluation)


EVALUATIONS = Queue(
    EvaluationJob,
    WakeUp.EVALUATE,
    related=("evaluation_set", "model_version"),
    without_result=lambda job: _send_evaluation_ended(job.model_version, job.evaluation_set, None),
)


def create_evaluation_set(*, name: str, folder: str, split: str = "") -> EvaluationSet:
    """Add an evaluation set: every version that is registered from now on is evaluated on its films.

    Raises:
        InvalidInputError: the folder or one of its tables cannot be used; the detail names file, line and remedy.
        ConflictError: there is already a set of this name or of these films.
    """
    for path in (folder, split):
        if path and not Path(path).is_absolute():
            raise InvalidInputError(
                f"{path}: give the absolute path, which begins with /, because workers run in another folder."
            )
    try:
        listed = engine.read_image_list(Path(folder), Path(split) if split else None)
    except (engine.DatasetInvalid, OSError) as error:
        raise InvalidInputError(str(error), "evaluation-set-refused") from error
    # Resolved, so that `evaluate_model` finds the same set.
    folder, split = str(Path(folder).resolve()), str(Path(split).resolve()) if split else ""
    try:
        with transaction.atomic():
            return EvaluationSet.objects.create(
                name=name,
                folder=folder,
                split=split,
                films=len(listed.names),
                patients=len(set(listed.patients)),
            )
    except IntegrityError as error:
        raise ConflictError("There is already a set of this name or of these films.") from error


def choose_evaluation_folder(*, name: str, folder: str, split: str = "") -> EvaluationSet:
    """Add an evaluation set of a folder in one of `places`, once every image of its list was found.

    Args:
        folder: its name, as `evaluation_folders` lists it.
        split: the list of films, relative to the folder.

    Raises:
        InvalidInputError: something is wrong with the folder; the detail has a line for each fault.
        ConflictError: as `create_evaluation_set`.
    """
    path, file = require_folder(folder, split)
    return create_evaluation_set(name=name, folder=path, split=file)


def upload_evaluation_set(*, name: str, archive: Path) -> EvaluationSet:
    """Add an evaluation set from a ZIP archive of a data set. Where this raises, nothing is stored.

    Raises:
        InvalidInputError, TooLargeError, OutOfSpaceError: the name, the archive, a table or an image is refused.
        ConflictError: there is already a set, or an uploaded folder, of this name.
    """
    if not slug_re.fullmatch(name):
        raise InvalidInputError("A name has letters, digits, - and _ only.", "evaluation-set-refused")
    target = settings.EVALUATION_UPLOADS / name
    if target.exists() or EvaluationSet.objects.filter(name=name).exists():
        raise ConflictError(f"There is already a set or an uploaded folder named {name}: choose another name.")
    folder = empty_upload_folder()
    try:
        unpack(archive, folder)
        root = root_of(folder)
        found = engine.check_folder(root)
        # The operator knows the archive, and not the folder that is removed again.
        require_usable(
            replace(found, problems=tuple(each.replace(str(folder), "the archive") for each in found.problems))
        )
        try:
            root.rename(target)
        except OSError as error:
            if target.exists():
                raise ConflictError(f"Another upload named {name} ended first: choose another name.") from error
            raise
        try:
            return create_evaluation_set(name=name, folder=str(target))
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def switch_evaluation_set(*, name: str, is_active: bool) -> None:
    """Turn a set on or off for new versions; its evaluations stay.

    Raises:
        NotFoundError: there is no set of this name.
    """
    if not EvaluationSet.objects.filter(name=name).update(is_active=is_active):
        raise NotFoundError(f"There is no evaluation set {name!r}.")


def request_evaluation_jobs(pairs: Sequence[tuple[EvaluationSet, ModelVersion]]) -> int:
    """Queue an evaluation job for each pair that has no open one; the number of jobs that were added."""
    if not pairs:
        return 0
    with transaction.atomic():
        before = EvaluationJob.objects.count()
        EvaluationJob.objects.bulk_create(
            [EvaluationJob(evaluation_set=each, model_version=version) for each, version in pairs],
            ignore_conflicts=True,
        )
        wake_after_commit(WakeUp.EVALUATE)
        return EvaluationJob.objects.count() - before


def store_evaluation(
    *, version: ModelVersion, report: dict[str, Any], data: Path, split: Path | None, by: Actor
) -> Evaluation:
    """Store an evaluation. On the films of an evaluation set, it counts for that set's release gate."""
    known = EvaluationSet.objects.filter(folder=str(data.resolve()), split=str(split.resolve()) if split else "")
    with transaction.atomic():
        evaluation = _create_evaluation(version, known.first(), report, by.name)
        _send_evaluation_ended(evaluation.model_version, evaluation.evaluation_set, evaluation)
        return evaluation


def _create_evaluation(
    version: ModelVersion, evaluation_set: EvaluationSet | None, report: dict[str, Any], actor: str
) -> Evaluation:
    # The name in the registry; the manifest's own name may differ, and has no number.
    report["model"]["name"] = str(version)
    record_localisation(version=version, figures=report["localisation"])
    return Evaluation.objects.create(
        model_version=version,
        evaluation_set=evaluation_set,
        split_id=report["split"]["id"],
        split_sha256=report["split"]["sha256"],
        n=report["n"],
        patients=report["patients"],
        mean_auroc=report["mean_auroc"],
        report_json=json.dumps(report, allow_nan=False),
        actor=actor,
    )


def complete_evaluation(*, job: EvaluationJob, report: dict[str, Any]) -> Evaluation | None:
    """Store the result and end the job; None where another worker has claimed the job since."""
    with transaction.atomic():
        if EVALUATIONS.held(job).select_for_update().first() is None:
            return None
        evaluation = _create_evaluation(job.model_version, job.evaluation_set, report, f"worker:{job.worker}"[:100])
        EVALUATIONS.complete(job=job, evaluation=evaluation)
        _send_evaluation_ended(evaluation.model_version, evaluation.evaluation_set, evaluation)
        return evaluation
