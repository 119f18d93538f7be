"""Writing a report on the study's page: drafts, the password of a signature, kept text, blind reading."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from apps.audit.models import AuditEvent, SecurityEvent
from apps.audit.services import user_actor
from apps.inference.models import InferenceJob
from apps.inference.services import claim_jobs, reject_job
from apps.reading.services import change_reading_policy
from apps.reports.models import BlindStep, Report
from apps.studies.models import Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import PASSWORD, Hospital
from tests.portal.test_study import at, job_on_page, words
from tests.reports.test_states import blind

JSON = {"Accept": "application/json"}


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.radiologist)


@pytest.fixture
def study(north: Hospital, read_study: Callable[..., Study]) -> Study:
    return read_study(north, {"size": 256, "patient_name": "CANARY^Jane", "patient_id": "P-1"}, Effusion=0.71)


def form_of(client: Client, study: Study, **more: str) -> dict[str, str]:
    return {"job": job_on_page(client, study), "impression": "My own text.", "agree_rest": "1", **more}


def test_a_text_survives_the_tab(client: Client, study: Study) -> None:
    nothing = {"revision": 0, "impression": "", "reason": "", "saved_by": None, "saved_at": None}
    assert client.get(at(study, "draft/")).json() == nothing
    saved = client.post(at(study, "draft/"), {"revision": "0", "impression": "Half a sen"}, headers=JSON).json()
    assert (saved["revision"], saved["saved_by"]) == (1, "radiologist of north")
    assert client.get(at(study, "draft/")).json() == saved
    assert "Half a sen</textarea>" in client.get(at(study)).text
    late = client.post(at(study, "draft/"), {"revision": "0", "impression": "Another"}, headers=JSON)
    assert (late.status_code, late["Content-Type"]) == (409, "application/problem+json")
    assert late.json() | saved == late.json(), "The stored text comes with the refusal."
    assert late.json()["code"] == "draft-changed"
    assert client.post(at(study, "draft/"), {"revision": "1", "impression": "Whole."}).status_code == 302
    assert client.post(at(study, "draft/"), {"impression": "x"}, headers=JSON).status_code == 400
    gone = Client().post(at(study, "draft/"), {"revision": "2", "impression": "x"}, headers=JSON)
    assert (gone.status_code, gone.json()["code"]) == (401, "signed-out")


def test_an_amendment_and_an_addendum_survive_the_tab(client: Client, study: Study, north: Hospital) -> None:
    draft, addendum = at(study, "draft/"), at(study, "draft/?kind=addendum")
    endless = client.post(at(study, "draft/"), {"revision": "9" * 5000, "impression": "x"}, headers=JSON)
    assert (endless.status_code, endless.json()["code"]) == (400, "revision-missing")
    early = client.post(addendum, {"revision": "0", "impression": "x", "reason": ""}, headers=JSON)
    assert (early.status_code, early.json()["code"]) == (409, "report-not-signed")
    assert client.post(at(study, "sign/"), form_of(client, study)).status_code == 302
    more = {"revision": "0", "impression": "CT advi", "reason": "Asked by the wa"}
    saved = client.post(addendum, more, headers=JSON).json()
    assert (saved["revision"], saved["reason"]) == (1, "Asked by the wa")
    late = client.post(addendum, {**more, "impression": "Other"}, headers=JSON)
    assert (late.status_code, late.json()["impression"], late.json()["code"]) == (409, "CT advi", "draft-changed")
    # The report is signed as before, and an amendment is another text.
    assert "Withdraw this draft" not in client.get(at(study)).text
    amended = {"revision": str(client.get(draft).json()["revision"]), "impression": "Better.", "reason": "Typing err"}
    assert client.post(draft, amended, headers=JSON).status_code == 200
    page = client.get(at(study)).text
    for text in ("CT advi</textarea>", 'value="Asked by the wa"', "Better.</textarea>", 'value="Typing err"'):
        assert text in page
    signed = form_of(client, study, impression="CT advised.", kind="addendum", amends="1", reason="Asked by the ward.")
    assert client.post(at(study, "sign/"), signed).status_code == 302
    assert client.get(addendum).json() == {
        **saved,
        "revision": 0,
        "impression": "",
        "reason": "",
        "saved_at": None,
        "saved_by": None,
    }


def test_a_refused_signature_keeps_the_text_on_the_page(client: Client, study: Study, north: Hospital) -> None:
    refused = client.post(at(study, "sign/"), form_of(client, study, agree_rest=""))
    assert refused.status_code == 409
    assert "Flagged and without your verdict: Effusion" in words(refused)
    assert "My own text.</textarea>" in refused.text
    assert 'name="password"' not in refused.text
    asked = client.post(at(study, "sign/"), form_of(client, study, agree_rest=""), headers=JSON)
    assert (asked.status_code, asked.json()["code"]) == (409, "verdicts-missing")
    assert client.post(at(study, "sign/"), form_of(client, study, impression=" ")).status_code == 400
    with tenant_tx(north.tenant.id):
        assert not Report.objects.exists()


def test_the_signature_asks_for_the_password(client: Client, study: Study, north: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        admin = Membership.objects.get(user=north.admin)
        change_reading_policy(membership=admin, by=user_actor(north.admin.pk), sign_with_password=True)
    assert 'name="password"' in client.get(at(study)).text
    body = form_of(client, study)
    for password in ("", "wrong"):
        refused = client.post(at(study, "sign/"), {**body, "password": password})
        assert refused.status_code == 400
        assert "My own text.</textarea>" in refused.text
        assert "Nothing was signed" in words(refused)
    assert SecurityEvent.objects.filter(action="sign-in.failed", user_id=north.radiologist.pk).count() == 1
    for _ in range(settings.SIGN_IN_FAILURES_PER_ACCOUNT):
        refused = client.post(at(study, "sign/"), {**body, "password": "wrong"})
    assert (refused.status_code, int(refused["Retry-After"]) > 0) == (429, True)
    assert client.post(at(study, "sign/"), {**body, "password": PASSWORD}).status_code == 429


def test_the_right_password_signs(client: Client, study: Study, north: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        admin = Membership.objects.get(user=north.admin)
        change_reading_policy(membership=admin, by=user_actor(north.admin.pk), sign_with_password=True)
    assert client.post(at(study, "sign/"), {**form_of(client, study), "password": PASSWORD}).status_code == 302
    with tenant_tx(north.tenant.id):
        assert Report.objects.get().signed_by == north.radiologist


def test_another_patient_is_not_signed_for(
    client: Client, study: Study, north: Hospital, sign_in: Callable[..., Client]
) -> None:
    page = client.get(at(study)).text
    seen = page.split('name="patient" value="')[1].split('"')[0]
    chosen = {"name": "OTHER^Jim", "birth_date": "1950-01-01", "sex": "M"}
    move = {"action": "move", "patient_id": "P-2", "issuer": "", "reason": "mixed up", **chosen}
    assert sign_in(north, north.technologist).post(at(study, "patient/"), move).status_code == 302
    refused = client.post(at(study, "sign/"), form_of(client, study, patient=seen))
    assert refused.status_code == 409
    assert "The patient data of this study changed" in words(refused)
    assert "My own text.</textarea>" in refused.text


def test_a_refused_study_is_reported(
    client: Client, north: Hospital, store_film: Callable[..., Any], version: Any
) -> None:
    study = store_film(north, size=256).study
    (job,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(north.tenant.id):
        reject_job(job=job, code="lateral-view", reason="This is a lateral film.", instances_seen=1)
    assert "The report says that no AI reading was used" in words(client.get(at(study)))
    assert client.post(at(study, "sign/"), form_of(client, study, without_ai="1")).status_code == 302
    page = words(client.get(at(study)))
    assert "My own text." in page
    assert "came later" not in page
    result = Client().get(f"/api/v1/studies/{study.study_instance_uid}/", headers=north.bearer).json()
    assert (result["status"], result["report_status"]) == ("rejected", "final")
    assert client.get(at(study, "report.pdf")).content.startswith(b"%PDF")
    amended = {"amends": "1", "reason": "Typing error."}
    assert client.post(at(study, "sign/"), form_of(client, study, impression="New.", **amended)).status_code == 302
    more = form_of(client, study, impression="Added.", kind="addendum", amends="2", reason="Asked.")
    assert client.post(at(study, "sign/"), more).status_code == 302
    page = words(client.get(at(study)))
    assert "New." in page
    assert "Addendum of radiologist of north" in page
    assert [client.get(at(study, f"reports/{number}.pdf")).status_code for number in (1, 2, 3)] == [200] * 3


def test_a_result_that_arrives_while_the_page_is_open_is_looked_at_first(
    client: Client, north: Hospital, store_film: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> None:
    study = store_film(north, size=256).study
    body = form_of(client, study, without_ai="1")
    finish(north, Effusion=0.9)
    refused = client.post(at(study, "sign/"), body)
    assert refused.status_code == 409
    assert "result arrived since you opened this study" in words(refused)
    assert "My own text.</textarea>" in refused.text
    assert 'name="without_ai"' not in refused.text


def test_a_result_that_comes_after_the_signature_is_said_to(
    client: Client, north: Hospital, store_film: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> None:
    study = store_film(north, size=256).study
    assert client.post(at(study, "sign/"), form_of(client, study, without_ai="1")).status_code == 302
    assert "after the signature" not in words(client.get(at(study)))
    finish(north, Effusion=0.9)
    page = words(client.get(at(study)))
    assert "This result came after the signature. The signed report was written without the AI." in page
    assert "on an earlier AI reading" not in page


def test_before_the_commitment_there_is_no_finding(client: Client, study: Study, north: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        blind(north)
    page = client.get(at(study))
    for finding in ("Effusion", "71.0", "Any finding", "operating point"):
        assert finding not in words(page)
    assert "when you have committed your impression" in words(page)
    assert client.get(at(study, "state/")).json()["positive_count"] is None
    assert client.get(at(study, "heatmaps/Effusion.png")).status_code == 404
    assert client.get(at(study, "report.pdf")).status_code == 409
    assert client.post(at(study, "commit/"), {"impression": ""}).status_code == 400
    assert client.post(at(study, "commit/"), {"impression": "Clear lungs."}).status_code == 302
    for _ in range(2):
        assert "Effusion" in words(client.get(at(study)))
    assert client.get(at(study, "heatmaps/Effusion.png")).status_code == 200
    with tenant_tx(north.tenant.id):
        assert [each.kind for each in BlindStep.objects.order_by("at")] == ["committed", "revealed"]
        kept = AuditEvent.objects.filter(action__in=["impression.committed", "findings.revealed"]).order_by("at")
        assert [each.user for each in kept] == [north.radiologist] * 2


def test_own_findings_by_form_and_by_script(client: Client, study: Study) -> None:
    with tenant_tx(study.tenant_id):
        image = InferenceJob.objects.get(study=study).instance
    assert image is not None
    body = {"name": "Rib fracture", "sop_instance_uid": image.sop_instance_uid, "box": "10,20.4,30,40"}
    added = client.post(at(study, "reader-findings/"), body, headers=JSON)
    assert (added.status_code, added.json()["box"], added.json()["label"]) == (201, [10, 20, 30, 40], "")
    for box in ("10,20", "a,b,c,d", "nan,0,1,1", "inf,0,1,1"):
        assert client.post(at(study, "reader-findings/"), {**body, "box": box}).status_code == 400, box
    remove = at(study, f"reader-findings/{added.json()['id']}/remove/")
    assert client.post(remove).status_code == 302
    assert client.post(remove).status_code == 404
