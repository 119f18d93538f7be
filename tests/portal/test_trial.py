"""The trial page, for administrators only: clinicians never see a challenger's result."""

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.db import connections
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.deployment.models import Challenger
from apps.deployment.services import activate, challenge, end_challenge
from apps.inference.models import InferenceJob, ShadowReading
from apps.inference.services import JobResult, claim_jobs, complete_jobs
from apps.registry.models import ModelVersion
from apps.reports.services import create_drafts
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from tests.conftest import PASSWORD, Hospital
from tests.registry.versions import registered
from tests.reports.reading import opened, text_of
from tests.trials.pairs import read_by_both, review

MARK = 0.7654321


@pytest.fixture
def trial(db: None) -> Challenger:
    activate(version=registered(1), by=Actor(name="test"))
    challenge(version=registered(2, scale=0.5), by=Actor(name="test"), reason="Trial.")
    return Challenger.objects.select_related("model_version", "against").get()


def disputed(hospital: Hospital, trial: Challenger) -> list[Study]:
    """120 studies: one flagged by the serving version alone, two by the challenger alone, five by both."""
    said: list[Any] = [({"Mass": 0.9}, {"Mass": 0.1})]
    said += [({"Mass": 0.2}, {"Mass": 0.4, "Edema": 0.4})] * 2
    said += [({"Mass": 0.9}, {"Mass": 0.8})] * 5
    return read_by_both(hospital, trial, said + [({}, {})] * 112)


def test_an_administrator_sees_who_flags_what(
    north: Hospital, south: Hospital, trial: Challenger, sign_in: Callable[..., Client]
) -> None:
    studies = disputed(north, trial)
    review(north, studies[0], "Mass", "disagree")
    client = sign_in(north, north.admin)
    page = client.get("/trial/").text
    assert "chest-net:2" in page
    assert "120 studies read by both, 3 with a disagreement" in page
    assert "Keep watching" in page
    assert "97.5 % <small>92.9 to 99.1</small>" in page
    assert "+0.8 %" in page
    assert "5 disagreements" in page
    assert "CANARY" not in page
    for study in studies[:3]:
        assert str(study.pk) not in page
        assert study.study_instance_uid not in page
    assert "Absent" in page
    only = client.get("/trial/", {"label": "Edema"}).text
    assert "2 disagreements: Edema" in only

    other = sign_in(south, south.admin)
    assert "0 studies read by both" in other.get("/trial/").text
    assert studies[0].study_instance_uid not in other.get("/trial/").text


def test_the_export_has_both_words_on_every_study_and_names_nobody(
    north: Hospital, trial: Challenger, sign_in: Callable[..., Client]
) -> None:
    studies = disputed(north, trial)
    review(north, studies[0], "Mass", "agree")
    answer = sign_in(north, north.admin).get("/trial/disagreement.csv", {"label": "Mass"})
    assert answer["Content-Disposition"] == 'attachment; filename="disagreement-chest-net-2.csv"'
    rows = {row["case"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert len(rows) == 120
    first = rows["120"]
    assert (first["serving_flagged"], first["challenger_flagged"], first["agree"]) == ("True", "False", "False")
    assert (first["serving_probability"], first["challenger_threshold"]) == ("0.9", "0.25")
    assert first["reader_says_present"] == "True"
    assert "CANARY" not in answer.text
    everything = sign_in(north, north.admin).get("/trial/disagreement.csv").text
    assert len(everything.splitlines()) == 1 + 120 * len(LABELS)


@pytest.mark.parametrize("address", ["/trial/", "/trial/disagreement.csv"])
def test_clinicians_and_strangers_are_turned_away(
    north: Hospital, trial: Challenger, sign_in: Callable[..., Client], address: str
) -> None:
    disputed(north, trial)
    for person in (north.radiologist, north.technologist):
        client = sign_in(north, person)
        refused = client.get(address)
        assert refused.status_code == 403
        assert "chest-net:2" not in refused.text
        assert "/trial/" not in client.get("/").text
    assert "/trial/" in sign_in(north, north.admin).get("/").text
    assert Client().get(address).status_code == 302


def test_nothing_on_trial_says_so_and_an_ended_trial_can_be_looked_up(
    north: Hospital, version: ModelVersion, sign_in: Callable[..., Client]
) -> None:
    client = sign_in(north, north.admin)
    assert "No model version is on trial here" in client.get("/trial/").text
    assert client.get("/trial/disagreement.csv").status_code == 404
    activate(version=version, by=Actor(name="test"))
    challenge(version=registered(2), by=Actor(name="test"))
    assert "0 studies read by both" in client.get("/trial/").text
    read_by_both(north, Challenger.objects.select_related("model_version", "against").get(), [({}, {})])
    end_challenge(by=Actor(name="test"))
    page = client.get("/trial/").text
    assert "ended" in page
    assert "1 study read by both" in page
    assert client.get("/trial/", {"trial": str(north.tenant.pk)}).status_code == 404
    challenge(version=registered(3), by=Actor(name="test"), percent=20)
    assert "it reads 20 % of the studies" in client.get("/trial/").text


def test_a_canary_is_shown_beside_what_was_read_meanwhile(
    north: Hospital, version: ModelVersion, store_film: Callable[..., Any], sign_in: Callable[..., Client]
) -> None:
    activate(version=version, by=Actor(name="test"))
    tried = registered(2)
    challenge(version=tried, by=Actor(name="test"), percent=50)
    for seed, (reader, probability) in enumerate([(tried, 0.9), (version, 0.9), (version, 0.1), (tried, 0.8)]):
        film = store_film(north, seed=seed, size=256).instance
        (job,) = claim_jobs(limit=1, version=reader, worker="test")
        with tenant_tx(north.tenant.id):
            cams = np.zeros((len(LABELS), 7, 7), np.float16)
            result = JobResult(job, film, 1, dict.fromkeys(LABELS, probability), cams)
            create_drafts(jobs=complete_jobs(results=[result], version=reader))
    with tenant_tx(north.tenant.id):
        study = InferenceJob.objects.filter(model_version=tried).latest("id").study
    review(north, study, "Mass", "agree")
    page = sign_in(north, north.admin).get("/trial/").text
    assert "<td>1 of 2</td><td>2 of 2</td>" in page
    assert "+50.0 %" in page
    assert "<td>0 of 0</td><td>1 of 1</td>" in page
    assert "Keep watching" not in page
    operator = Client()
    operator.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    row = Challenger.objects.get()
    counted = operator.get(reverse("admin:deployment_challenger_disagreement", args=[row.pk])).text
    assert '<td class="number">1 of 2</td><td class="number">2 of 2</td>' in counted


# The request for a study to each page of the portal and the API; None where it shows no stored study.
PORTAL = {
    "worklist": "/", "study": "/studies/{pk}/", "state": "/studies/{pk}/state/",
    "report-pdf": "/studies/{pk}/report.pdf", "upload": "/upload/", "hospital": "/hospital/",
    "quick-check": "/quick-check/", "test-pattern": None, "sign-in": None, "sign-out": None,
    "search": None, "film": None, "heatmap": None, "review": None, "sign": None, "review-rest": None, "draft": None,
    "discard-draft": None, "commit": None, "add-finding": None, "remove-finding": None,
    "trial": None, "trial-csv": None,
    "points": None, "point": None, "draft-pdf": None, "report-version-pdf": None, "reject-image": None,
    "restore-image": None, "study-patient": "/studies/{pk}/patient/", "patients": "/patients/",
    "invitation": None, "operator-invitation": None, "settings": None, "people": None, "person": None,
    "remove-member": None, "password-link": None, "withdraw-invitation": None, "keys": None, "revoke-key": None,
    "own-texts": None, "own-text": None, "hospital-texts": None, "hospital-text": None, "my-settings": None,
    "insert-text": None, "destinations": None, "new-destination": None, "destination": None, "test-destination": None,
    "switch-destination": None, "repeat-failed": None, "remove-destination": None, "renew-webhook-secret": None,
    "repeat-delivery": None,
    "reading-policy": None, "peers": None, "peer": None, "remove-peer": None, "echo-peer": None, "placeholders": None,
    "probabilities": None,
    "undo-recalibration": None, "recalibration": None, "preview-recalibration-again": None,
    "change-plan": None, "change-plan-pdf": None,
    "drift": None, "dashboard": None, "dashboard-alerts": None, "dashboard-drift": None, "dashboard-csv": None,
    "dashboard-agreement": None,
    "ai": None, "ai-stop": None, "ai-start": None, "ai-change": None, "ai-dismiss": None,
    "reviewed": None, "reviewed-export": None,
    "critical": "/critical/", "critical-banner": "/critical/banner/", "acknowledge": None, "critical-rules": None,
    "critical-rule": None, "remove-critical-rule": None, "dicomweb": None, "next": None, "result-object": None,
    "result-policy": None, "retry-results": None, "sent-today": "/upload/today/", "discard-uploads": None,
    "save-view": None, "remove-view": None, "worklist-change": None, "upload-part": None, "upload-parts": None,
    "upload-session": None, "upload-store": None,
    "rules": None, "new-rule": None, "rule": None, "change-rule": None, "rules-test": None, "rules-history": None,
    "restore-rules": None, "quality": "/quality/", "quality-csv": "/quality/verdicts.csv",
    "discordances": "/quality/review/", "resolve-discordance": None, "undo-resolution": None,
}  # fmt: skip
API = {
    "studies": "/api/v1/studies/", "study": "/api/v1/studies/{uid}/", "report": "/api/v1/studies/{uid}/report.pdf",
    "report-version": None,
    "heatmap": None, "predict": None, "models": "/api/v1/models/", "model": None, "schema": "/api/v1/schema/",
    "docs": "/api/v1/docs/", "webhooks": "/api/v1/webhooks/", "webhook": None, "webhook-test": None,
    "webhook-secret": None, "webhook-repeat": None,
}  # fmt: skip


def names(app: str) -> set[str]:
    for each in get_resolver().url_patterns:
        if getattr(each, "app_name", None) == app:
            return {page.name or "?" for page in each.url_patterns if isinstance(page, URLPattern)}
    raise AssertionError(app)


def test_every_page_is_known_here() -> None:
    assert names("portal") == set(PORTAL), "Add the new page's request for a study."
    assert names("api") == set(API), "Add the new address's request for a study."


def test_what_a_shadow_says_is_shown_to_no_clinician(
    north: Hospital, version: ModelVersion, read_study: Callable[..., Study], sign_in: Callable[..., Client]
) -> None:
    activate(version=version, by=Actor(name="test"))
    shadow = registered(2)
    challenge(version=shadow, by=Actor(name="test"))
    study = read_study(north, {"size": 256}, Effusion=0.8)
    with tenant_tx(north.tenant.id):
        waiting = ShadowReading.objects.get()
        waiting.state, waiting.probabilities = "complete", dict.fromkeys(LABELS, MARK)
        waiting.thresholds = dict.fromkeys(LABELS, MARK)
        waiting.save()
        job = str(waiting.job_id)
    client = sign_in(north, north.radiologist)
    signed = client.post(f"/studies/{study.pk}/sign/", {"impression": "x", "job": job, "agree_rest": "1"})
    assert signed.status_code == 302
    answers = [client.get(each.format(pk=study.pk)) for each in PORTAL.values() if each]
    answers += [
        Client().get(each.format(uid=study.study_instance_uid), headers=north.bearer) for each in API.values() if each
    ]
    answers.append(Client().get("/metrics"))
    for answer in answers:
        assert answer.status_code == 200, answer.request["PATH_INFO"]
        body = b"".join(answer) if answer.streaming else answer.content
        text = text_of(opened(body)) if body.startswith(b"%PDF") else body.decode()
        for word in (str(shadow), shadow.sha256[:16], "76.5", "0.765", "shadow reading"):
            assert word not in text.lower(), answer.request["PATH_INFO"]


def test_what_a_shadow_says_lies_in_one_table(north: Hospital, trial: Challenger) -> None:
    read_by_both(north, trial, [({}, dict.fromkeys(LABELS, MARK))])
    found = set()
    with tenant_tx(north.tenant.id), connections["default"].cursor() as cursor:
        for table in connections["default"].introspection.table_names():
            cursor.execute(f"select count(*) from {table} each where each::text like %s", [f"%{MARK}%"])
            if cursor.fetchone()[0]:
                found.add(table)
    assert found == {"inference_shadowreading"}
