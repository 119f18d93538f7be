"""The study page: the result and its provenance, the images, verdicts and signature."""

import io
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.db import OperationalError
from django.test import Client
from PIL import Image

from apps.audit.models import AuditEvent
from apps.inference.models import InferenceJob
from apps.inference.retries import note_outage
from apps.inference.services import claim_jobs, reject_job
from apps.reading.models import ReadingPolicy
from apps.registry import engine
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from tests.conftest import Hospital, enter
from tests.reports.conftest import UNJUDGED

ADDRESSES = ("", "state/", "film.png", "heatmaps/Effusion.png", "report.pdf")


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.radiologist)


@pytest.fixture
def study(north: Hospital, read_study: Callable[..., Study]) -> Study:
    return read_study(north, {"patient_name": "CANARY^Jane"}, Effusion=0.71, Mass=0.35)


def at(study: Study, address: str = "") -> str:
    return f"/studies/{study.pk}/{address}"


def words(response: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.text).split())


def job_on_page(client: Client, study: Study) -> str:
    found = re.search(r'name="job" value="([^"]+)"', client.get(at(study)).text)
    assert found
    return found[1]


def audited(hospital: Hospital) -> list[str]:
    with tenant_tx(hospital.tenant.id):
        return list(AuditEvent.objects.order_by("id").values_list("action", flat=True))


def test_the_whole_result_with_its_provenance(client: Client, study: Study, version: Any, north: Hospital) -> None:
    response = client.get(at(study))
    page = words(response)
    assert "2 findings at or above their operating points" in page
    assert "71.0 %" in page
    assert "30.0 %" in page
    assert page.count("no operating point") == 1
    assert "patient's right, lower zone" in page.replace("&#x27;", "'")
    assert len(re.findall(r"data-label=", response.text)) == len(LABELS)
    assert response.text.index('data-label="Effusion"') < response.text.index('data-label="Mass"')
    assert f'title="{version.sha256}"' in response.text
    assert "reporter:3" in page
    assert "not a lesion outline" in page
    assert "Investigational" in page
    assert audited(north).count("study.viewed") == 1


def test_what_the_version_is_unsure_of_is_said(
    client: Client, north: Hospital, read_study: Callable[..., Study]
) -> None:
    """Near its operating point a finding is uncertain, and a map that was not validated names no place."""
    response = client.get(at(read_study(north, Nodule=0.35, Effusion=0.71)))
    page = words(response)
    assert "Uncertain: Nodule. So near to the operating point" in page
    rows = dict(re.findall(r'<tr data-label="(\w+)"(.*?)</tr>', response.text, re.DOTALL))
    assert "location not validated" in rows["Nodule"]
    assert "zone" not in rows["Nodule"]
    assert "data-localised" not in rows["Nodule"]
    assert "data-localised" in rows["Effusion"]
    assert "uncertain" not in rows["Effusion"]
    assert "Any finding: 8" in page
    assert "at or above the operating point of 40.0 %" in page


def test_nothing_flagged_is_not_called_normal(
    client: Client, north: Hospital, read_study: Callable[..., Study]
) -> None:
    page = words(client.get(at(read_study(north))))
    assert "No finding reached its operating point" in page
    assert "No operating point: Hernia." in page
    # ".normal" is the name of a text that the reader may insert.
    assert "normal" not in page.lower().replace(".normal", "")


def test_a_waiting_study_says_so_and_its_state_follows(
    client: Client, north: Hospital, store_film: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> None:
    study = store_film(north).study
    assert "This film waits for the AI" in words(client.get(at(study)))
    first = client.get(at(study, "state/"))
    before = first.json()
    assert (before["status"], before["is_open"], before["report_status"]) == ("queued", True, None)
    same = client.get(at(study, "state/"), headers={"If-None-Match": first["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    finish(north, Effusion=0.9)
    after = client.get(at(study, "state/"), headers={"If-None-Match": first["ETag"]}).json()
    assert (after["status"], after["is_open"], after["report_status"]) == ("complete", False, "preliminary")
    assert (after["positive_count"], after["model_version"]) == (1, "reporter:3")
    assert after["token"] != before["token"]
    panels = client.get(at(study), headers={"X-Fragment": "1"}).text
    assert "<html" not in panels
    assert f'data-token="{after["token"]}"' in panels


def test_a_refusal_is_shown_in_place_of_scores(
    client: Client, north: Hospital, store_film: Callable[..., Any], version: Any
) -> None:
    study = store_film(north).study
    (job,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(north.tenant.id):
        reject_job(job=job, code="lateral-view", reason="This is a lateral film.", instances_seen=1)
    page = words(client.get(at(study)))
    assert "This is a lateral film." in page
    assert " %" not in page
    assert client.get(at(study, "report.pdf")).status_code == 404
    assert client.get(at(study, "heatmaps/Effusion.png")).status_code == 404


def test_a_refused_film_is_not_warned_about_maps_that_it_has_not(
    client: Client, north: Hospital, store_film: Callable[..., Any], version: Any
) -> None:
    stored = store_film(north, size=256)
    study = stored.study
    (claimed,) = claim_jobs(limit=1, version=version, worker="test")
    notes = [engine.ImageWarning("thorax-not-found", "No outline."), engine.ImageWarning("shutter-invalid", "Odd.")]
    with tenant_tx(north.tenant.id):
        Study.objects.update(referring_physician_name="Doe^Ann", patient_name="")
        seen: dict[str, Any] = {"instance": stored.instance, "instances_seen": 1, "warnings": notes}
        reject_job(job=claimed, code="not-chest-film", reason="A foot.", **seen)
    page = client.get(at(study)).text
    assert re.findall(r'<li data-code="([^"]+)"', page) == ["shutter-invalid"]
    assert "<dd>Doe, Ann</dd>" in page
    assert "<h1>Unnamed</h1>" in page
    with tenant_tx(north.tenant.id):
        ReadingPolicy.objects.update_or_create(defaults={"language": "de"})
    assert "<h1>Ohne Namen</h1>" in client.get(at(study)).text


def test_the_film_and_a_heatmap_are_pictures_that_are_asked_for_again(client: Client, study: Study) -> None:
    for address, mode in (("film.png", "L"), ("heatmaps/Effusion.png", "RGBA")):
        response = client.get(at(study, address))
        assert response.status_code == 200
        assert response["Cache-Control"] == "private, no-cache"
        picture = Image.open(io.BytesIO(response.content))
        assert picture.mode == mode
        assert np.asarray(picture).max() > 100
        again = client.get(at(study, address), headers={"If-None-Match": response["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_pictures_that_are_not_there(client: Client, study: Study) -> None:
    numbers = ("2", "0", "9" * 5000)
    for address in ("heatmaps/Nonsense.png", *(f"film.png?image={number}" for number in numbers)):
        response = client.get(at(study, address))
        assert response.status_code == 404
        assert "There is no" in response.text or "no such" in response.text or "no heatmap" in response.text
    assert client.get(at(study, "film.png?image=1")).status_code == 200


def test_another_hospital_finds_none_of_it(study: Study, south: Hospital, sign_in: Callable[..., Client]) -> None:
    client = sign_in(south, south.radiologist)
    for address in ADDRESSES:
        response = client.get(at(study, address))
        assert response.status_code == 404, address
        assert "CANARY" not in response.text
    for address in ("sign/", "review/"):
        assert client.post(at(study, address), {"job": "x"}).status_code == 404, address
    assert "There is no such study in this hospital." in client.get(at(study)).text
    assert set(audited(south)) == {"request.refused"}


def test_a_script_gets_problems_and_a_stranger_gets_nothing(study: Study, client: Client) -> None:
    asks = {"Accept": "application/json"}
    problem = client.get(f"/studies/{uuid4()}/state/", headers=asks)
    assert (problem.status_code, problem.json()["code"]) == (404, "study-not-found")
    assert Client().get(at(study, "state/"), headers=asks).status_code == 401
    for address in ADDRESSES:
        assert Client().get(at(study, address)).status_code == 302


def test_verdicts_are_kept_and_changed(client: Client, study: Study, north: Hospital) -> None:
    job = job_on_page(client, study)
    for verdict in ("disagree", "agree"):
        body = {"job": job, "label": "Effusion", "verdict": verdict}
        answer = client.post(at(study, "review/"), body, headers={"Accept": "application/json"})
        assert answer.json() == {"label": "Effusion", "verdict": verdict}
    row = re.search(r'data-label="Effusion".*?</tr>', client.get(at(study)).text, re.S)
    assert row
    assert re.search(r'data-verdict="agree" aria-pressed="true"', row[0])
    assert re.search(r'data-verdict="disagree" aria-pressed="false"', row[0])
    assert client.post(at(study, "review/"), {"job": job, "label": "Mass", "verdict": "agree"}).status_code == 302
    assert audited(north).count("finding.reviewed") == 3


@pytest.mark.parametrize(
    ("change", "status"),
    [({"verdict": "maybe"}, 400), ({"label": "Nonsense"}, 404), ({"job": "00000000-0000-0000-0000-000000000000"}, 409)],
)
def test_a_verdict_that_cannot_be(client: Client, study: Study, change: dict[str, str], status: int) -> None:
    body = {"job": job_on_page(client, study), "label": UNJUDGED, "verdict": "agree"}
    assert client.post(at(study, "review/"), body | change).status_code == status


def test_signing_makes_the_report_final(client: Client, study: Study, north: Hospital) -> None:
    body = {"job": job_on_page(client, study), "impression": "Right effusion. <b>Drain</b> it.", "agree_rest": "1"}
    preliminary = client.get(at(study, "report.pdf"))
    assert preliminary.content.startswith(b"%PDF")
    assert "CANARY" not in preliminary["Content-Disposition"]
    response = client.post(at(study, "sign/"), body, follow=True)
    page = words(response)
    assert "The report is signed." in page
    assert "Signed by radiologist of north" in page
    assert "&lt;b&gt;Drain" in response.text
    assert "Sign the report" not in page
    assert client.get(at(study, "report.pdf")).content == client.get(at(study, "report.pdf")).content
    assert client.post(at(study, "sign/"), body).status_code == 302, "The button was pressed twice."
    assert client.post(at(study, "sign/"), {**body, "impression": "Another text."}).status_code == 409
    review = {"job": body["job"], "label": "Mass", "verdict": "agree"}
    assert client.post(at(study, "review/"), review).status_code == 409
    assert audited(north).count("report.signed") == 1
    assert audited(north).count("report.read") == 3


def test_a_result_that_came_meanwhile_is_not_signed(
    client: Client, study: Study, north: Hospital, store_film: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> None:
    job = job_on_page(client, study)
    store_film(
        north, seed=9, study_uid=study.study_instance_uid, patient_name="CANARY^Jane", patient_id=study_patient(study)
    )
    finish(north, Mass=0.9)
    response = client.post(at(study, "sign/"), {"job": job, "impression": ""})
    assert response.status_code == 409
    assert "Reload the page" in response.text


def study_patient(study: Study) -> str:
    with tenant_tx(study.tenant_id):
        return study.patient.patient_id


def test_a_database_that_fails_is_a_page_that_says_so(
    client: Client, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr("apps.portal.views.study.record", fail)
    response = client.get(at(study))
    assert response.status_code == 503
    assert "The database did not answer" in response.text
    assert "server closed" not in response.text


@pytest.mark.parametrize("role", ["technologist", "admin"])
def test_only_a_radiologist_reads(
    north: Hospital, study: Study, client: Client, sign_in: Callable[..., Client], role: str
) -> None:
    job = job_on_page(client, study)
    other = sign_in(north, getattr(north, role))
    page = other.get(at(study))
    assert "A radiologist signs it." in words(page)
    assert 'name="verdict"' not in page.text
    for finding in ("Effusion", "71.0 %", "2 findings", "operating point"):
        assert finding not in words(page)
    state = other.get(at(study, "state/")).json()
    assert state["positive_count"] is None
    assert other.get(at(study, "film.png")).status_code == 200
    for address in ("report.pdf", "heatmaps/Effusion.png"):
        assert other.get(at(study, address)).status_code == 403
    for query in ("", "?flagged=1", "?label=Effusion", "?sort=finding"):
        listed = other.get(f"/{query}")
        assert "CANARY, Jane" in words(listed)
        assert "71.0 %" not in words(listed)
    assert other.get("/?label=Hernia").text.count("CANARY, Jane</a>") == 1
    assert other.get("/quick-check/").status_code == 403
    for address in ("studies/", f"studies/{study.study_instance_uid}/", "models/"):
        answer = other.get(f"/api/v1/{address}")
        assert answer.status_code == (200 if address == "models/" else 403)
    assert other.post(at(study, "sign/"), {"job": job}).status_code == 403
    assert other.post(at(study, "review/"), {"job": job, "label": "Mass", "verdict": "agree"}).status_code == 403


def test_forms_from_elsewhere_are_refused(north: Hospital, study: Study) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(north.radiologist)
    enter(client, north, north.radiologist)
    response = client.post(at(study, "sign/"), {"impression": "x"})
    assert response.status_code == 403
    assert "This page is out of date" in response.text


def test_a_version_without_operating_points_is_not_called_negative(
    client: Client, north: Hospital, read_study: Callable[..., Study], version: Any
) -> None:
    version.manifest["thresholds"] = dict.fromkeys(LABELS)
    version.save()
    study = read_study(north, Effusion=0.97)
    page = words(client.get(at(study)))
    assert "reporter:3 has no operating points" in page
    assert "reached its operating point" not in page
    assert client.get(at(study, "state/")).json()["has_no_operating_points"] is True
    assert "No operating point" in words(client.get("/"))
    assert "None flagged" not in words(client.get("/"))


def test_a_study_that_waits_for_the_end_of_an_outage_says_since_when(
    client: Client, north: Hospital, starter: Any, store_film: Callable[..., Any]
) -> None:
    study = store_film(north, size=128).study
    assert "Waiting since" not in words(client.get(at(study)))
    note_outage("storage-unavailable")
    for address in (at(study), "/"):
        assert "UTC: the object storage does not answer. It goes on as soon as that ends." in words(client.get(address))
