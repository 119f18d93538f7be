"""Evaluation sets, evaluation jobs and release gates in the console."""

from pathlib import Path
from typing import Any

from django.test import Client
from django.urls import reverse

from apps.deployment.models import Activation
from apps.evaluation.models import EvaluationJob, EvaluationSet
from apps.evaluation.services import EVALUATIONS
from apps.registry.models import ModelVersion
from tests.evaluation import synthetic
from tests.evaluation.films import write_layout


def test_a_folder_on_the_server_is_chosen(operator: Client, tmp_path: Path, settings: Any) -> None:
    add = reverse("admin:evaluation_evaluationset_add")
    settings.EVALUATION_FOLDERS, settings.EVALUATION_UPLOADS = tmp_path / "server", tmp_path / "uploaded"
    empty = operator.get(add).content.decode()
    assert f"There is no folder in {settings.EVALUATION_FOLDERS}" in empty
    films = write_layout(settings.EVALUATION_FOLDERS / "films", patients=6, test=2)
    (settings.EVALUATION_FOLDERS / "other").mkdir()
    page = operator.get(add).content.decode()
    assert "<td>films</td><td>NIH ChestX-ray14</td><td>4</td><td>2</td><td>4</td><td></td><td>Nothing</td>" in page
    assert "this folder has no table of a known data set" in page
    assert b"Select a valid choice" in operator.post(add, {"name": "public", "folder": str(films)}).content
    (films / "short.txt").write_text("nobody.png\n")
    for split, message in (("short.txt", b"nobody.png"), ("../../x.txt", b"must be a file in the folder")):
        refused = operator.post(add, {"name": "public", "folder": "films", "split": split})
        assert message in refused.content
    first = sorted((films / "images").glob("00000004*"))[0]
    kept = first.read_bytes()
    first.unlink()
    assert f"line 10: {first.name} is not" in operator.post(add, {"name": "a", "folder": "films"}).content.decode()
    first.write_bytes(kept)
    assert not EvaluationSet.objects.exists()
    answer = operator.post(add, {"name": "public", "folder": "films"}, follow=True)
    assert b"4 films of 2 patients" in answer.content
    made = EvaluationSet.objects.get()
    assert made.folder == str(films)
    page = reverse("admin:evaluation_evaluationset_change", args=[made.pk])
    assert operator.post(page, {}).status_code == 302
    made.refresh_from_db()
    assert not made.is_active


def test_a_version_is_evaluated_on_all_sets_and_its_page_shows_the_state(
    operator: Client, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    evaluate = reverse("admin:registry_modelversion_evaluate", args=[pair[1].pk])
    page = reverse("admin:registry_modelversion_change", args=[pair[1].pk])
    assert b"There is no active evaluation set" in operator.get(evaluate).content
    synthetic.a_set()
    assert b"public (300 films)" in operator.get(evaluate).content
    answer = operator.post(evaluate, follow=True).content
    assert b"Waiting for the jobs worker: 2" in answer
    assert b"Waits for evaluations" in answer
    (job,) = EVALUATIONS.claim(worker="test")
    EVALUATIONS.reject(job=job, reason="It has seen 3 of the patients.")
    shown = operator.get(page).content
    assert b"Not comparable" in shown
    assert b"It has seen 3 of the patients." in shown
    listed = operator.get(reverse("admin:evaluation_evaluationjob_changelist")).content
    assert b"It has seen 3 of the patients." in listed
    assert operator.get(reverse("admin:evaluation_evaluationjob_change", args=[job.pk])).status_code == 200
    assert EvaluationJob.objects.count() == 2


def test_a_failed_gate_is_shown_and_overridden_with_a_reason(
    operator: Client, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    first, second = pair
    films = synthetic.a_set()
    synthetic.measured(first, films, 1.0)
    synthetic.measured(second, films, 0.5, noise=2)
    assert b"Candidate: release gate failed" in operator.get(reverse("admin:registry_modelversion_changelist")).content
    address = reverse("admin:registry_modelversion_activate", args=[second.pk])
    assert b"It may be worse than chest-net:1" in operator.get(address).content
    assert b"did not pass the release gate" in operator.post(address, {"reason": "Newer."}).content
    given = {"reason": "Portable films.", "despite_gate": "on", "why_no_preview": "No study yet."}
    assert operator.post(address, given).status_code == 302
    entry = Activation.objects.first()
    assert entry is not None
    shown = operator.get(reverse("admin:deployment_activation_change", args=[entry.pk])).content.decode()
    assert "It may be worse than chest-net:1" in shown
    assert "Floor: AUROC of each label" in shown
    assert "None. No study yet." in shown
