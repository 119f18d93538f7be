"""The AI is stopped for a hospital, or for one finding of it: studies flow on, marked; starting again reads them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError
from apps.core.work_queue import JobState
from apps.deployment.models import Activation, AiStop, Deployment
from apps.deployment.services import activate, roll_back, start_ai, stop_ai
from apps.inference.models import InferenceJob
from apps.inference.services import claim_jobs
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from tests.conftest import PASSWORD, Hospital
from tests.registry.versions import registered
from tests.reports.reading import opened, text_of
from tests.results import version
from workers.pipeline import choose_images, write_refusal, write_results

__all__ = ["version"]
BY = Actor(name="test")


def result_of(hospital: Hospital) -> dict[str, Any]:
    (study,) = Client().get("/api/v1/studies/", headers=hospital.bearer).json()["results"]
    return study


def report_of(hospital: Hospital, study: dict[str, Any]) -> str:
    return " ".join(text_of(opened(Client().get(study["report_url"], headers=hospital.bearer).content)).split())


def test_a_stopped_hospital_works_on_and_starts_again(
    north: Hospital, south: Hospital, starter: Any, store_film: Any, read_studies: Callable[[], int], sign_in: Any
) -> None:
    admin, reader = sign_in(north, north.admin), sign_in(north, north.radiologist)
    assert reader.post("/ai/stop/", {"reason": "No."}).status_code == 403
    assert "This field is required" in admin.post("/ai/stop/", {"reason": ""}).text
    assert admin.post("/ai/stop/", {"reason": "Too many alarms."}).status_code == 302
    film = store_film(north, seed=1, size=256)
    store_film(south, seed=1, size=256)
    assert read_studies() == 2

    assert result_of(south)["status"] == "complete"
    study = result_of(north)
    assert (study["status"], study["reason_code"], study["findings"]) == ("rejected", "ai-stopped", [])
    assert study["reason"].startswith("AI stopped since ")
    assert study["model_version"] is None
    address = f"/studies/{film.study.pk}/"
    for page in ("/", address):
        assert "AI stopped" in reader.get(page).text
        assert "AI stopped" not in sign_in(south, south.radiologist).get("/").text
    printed = report_of(north, study)
    assert "AI stopped." in printed
    assert "No finding reached" not in printed
    job = InferenceJob.objects
    with tenant_tx(north.tenant.pk):
        given = {"job": job.get().pk, "impression": "Normal."}
    assert reader.post(f"{address}sign/", given).status_code == 302
    assert result_of(north)["report_status"] == "final"
    refused = Client().post("/api/v1/predict", b"DICM", "application/dicom", headers=north.bearer)
    assert (refused.status_code, refused.json()["code"]) == (409, "ai-stopped")

    assert "1 study" in admin.get("/ai/").text
    assert admin.post("/ai/start/", {"read": "1"}).status_code == 302
    assert read_studies() == 1
    assert result_of(north)["status"] == "complete"
    assert "data-ai-stopped" not in reader.get("/").text
    acts = [(entry.act, entry.by, entry.reason) for entry in Activation.objects.filter(for_tenant=north.tenant)]
    assert acts[::-1] == [
        ("ai-stopped", north.admin, "Too many alarms."),
        ("ai-started", north.admin, "Started again in the portal."),
    ]
    with tenant_tx(north.tenant.pk):
        kept = AuditEvent.objects.filter(action__startswith="ai.").order_by("at")
        assert [(each.action, each.user) for each in kept] == [("ai.stopped", north.admin), ("ai.started", north.admin)]
    with tenant_tx(south.tenant.pk):
        assert not AuditEvent.objects.filter(action__startswith="ai.").exists()


def test_one_stopped_finding_is_left_out_and_said_so(
    north: Hospital, starter: Any, store_film: Any, read_studies: Callable[[], int], sign_in: Any, make_film: Any
) -> None:
    stop_ai(tenant=north.tenant, by=BY, label="Pneumothorax", reason="False alarms.")
    film = store_film(north, seed=1, size=256)
    assert read_studies() == 1
    study = result_of(north)
    assert study["status"] == "complete"
    assert {finding["label"] for finding in study["findings"]} == set(LABELS) - {"Pneumothorax"}
    (warning,) = [each for each in study["warnings"] if each["code"] == "ai-stopped"]
    assert "AI stopped for Pneumothorax" in warning["detail"]
    reader = sign_in(north, north.radiologist)
    assert "AI stopped in part" in reader.get("/").text
    assert warning["detail"] in reader.get(f"/studies/{film.study.pk}/").text
    assert "AI stopped for Pneumothorax" in report_of(north, study)
    body = make_film(seed=1, size=256).read_bytes()
    (answer,) = Client().post("/api/v1/predict", body, "application/dicom", headers=north.bearer).json()
    assert "Pneumothorax" not in [finding["label"] for finding in answer["findings"]]
    assert "ai-stopped" in [each["code"] for each in answer["warnings"]]


def test_a_stop_also_holds_what_is_being_computed(north: Hospital, version: Any, store_film: Any) -> None:
    store_film(north)
    (claim,) = claim_jobs(limit=1, version=version, worker="test")
    (reading,) = choose_images([claim])
    reading.probabilities = dict.fromkeys(LABELS, 0.9)
    stop_ai(tenant=north.tenant, by=BY, reason="Wrong results.")
    write_results([reading], version)
    with tenant_tx(north.tenant.pk):
        job = InferenceJob.objects.get()
        assert (job.state, job.reason_code, job.findings.count()) == (JobState.REJECTED, "ai-stopped", 0)
    # Every finding stopped by itself is the same as the whole.
    start_ai(tenant=north.tenant, by=BY)
    for label in LABELS:
        stop_ai(tenant=north.tenant, by=BY, label=label, reason="Each.")
    store_film(north, seed=2)
    (claim,) = claim_jobs(limit=1, version=version, worker="test")
    (reading,) = choose_images([claim])
    reading.probabilities = dict.fromkeys(LABELS, 0.9)
    write_results([reading], version)
    with tenant_tx(north.tenant.pk):
        assert {job.state for job in InferenceJob.objects.all()} == {JobState.REJECTED}


def test_a_stop_is_no_rollback(north: Hospital, south: Hospital, version: Any, store_film: Any) -> None:
    with pytest.raises(InvalidInputError, match="Say why"):
        stop_ai(tenant=north.tenant, by=BY, reason=" ")
    with pytest.raises(InvalidInputError, match="no finding 'Fracture'"):
        stop_ai(tenant=north.tenant, by=BY, label="Fracture", reason="x")
    activate(version=registered(9), by=BY)
    stop_ai(tenant=north.tenant, by=BY, reason="x")
    with pytest.raises(ConflictError, match="stopped already"):
        stop_ai(tenant=north.tenant, by=BY, reason="x")
    # The rollback takes the activation back and not the stop.
    assert roll_back(by=BY).to_version == version
    assert Deployment.objects.get().model_version == version
    store_film(north)
    (claim,) = claim_jobs(limit=1, version=version, worker="test")
    (reading,) = choose_images([claim])
    write_refusal(reading)
    start_ai(tenant=north.tenant, by=BY)
    with pytest.raises(ConflictError, match="is not stopped"):
        start_ai(tenant=north.tenant, by=BY)
    assert not AiStop.objects.exists()


def test_operators_stop_and_start_by_command_and_in_the_console(north: Hospital, version: Any, capsys: Any) -> None:
    with pytest.raises(CommandError, match="Say why"):
        call_command("stop_ai", "--tenant", "north")
    call_command("stop_ai", "--tenant", "north", "--label", "Mass", "--reason", "False alarms.")
    call_command("stop_ai", "--tenant", "north", "--label", "Mass", "--start")
    assert "AI started again, North Hospital: Mass." in capsys.readouterr().out
    operator = Client()
    operator.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    stop = {"tenant": north.tenant.pk, "label": "", "reason": "Recall."}
    assert operator.post("/admin/deployment/aistop/stop/", stop).status_code == 302
    listed = operator.get("/admin/deployment/aistop/").text
    assert "Recall." in listed
    start = f"/admin/deployment/aistop/{AiStop.objects.get().pk}/start/"
    assert start in listed
    answer = operator.post(start, {"reason": "Repaired."}, follow=True).text
    assert "requeue_jobs --tenant north --state rejected --reason ai-stopped" in answer
    assert not AiStop.objects.exists()
