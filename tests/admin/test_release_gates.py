"""Evaluation sets, evaluation jobs and release gates in the console."""

from pathlib import Path

from django.test import Client
from django.urls import reverse

from apps.deployment.models import Activation
from apps.evaluation.models import EvaluationJob, EvaluationSet
from apps.evaluation.services import EVALUATIONS
from apps.registry.models import ModelVersion
from tests.evaluation import synthetic
from tests.evaluation.films import write_layout


def test_a_set_is_added_once_its_tables_are_read(operator: Client, tmp_path: Path) -> None:
    add = reverse("admin:evaluation_evaluationset_add")
    assert operator.get(add).status_code == 200
    films = write_layout(tmp_path / "films", patients=6, test=2)
    for wrong, message in (("films", b"give the absolute path"), (str(tmp_path), b"Data_Entry_2017")):
        assert message in operator.post(add, {"name": "public", "folder": wrong}).content
    (films / "short.txt").write_text("nobody.png\n")
    refused = operator.post(add, {"name": "public", "folder": str(films), "split": str(films / "short.txt")})
    assert b"nobody.png" in refused.content
    assert not EvaluationSet.objects.exists()
    answer = operator.post(add, {"name": "public", "folder": str(films)}, follow=True)
    assert b"4 films of 2 patients" in answer.content
    made = EvaluationSet.objects.get()
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
