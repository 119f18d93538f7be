"""The contract's JSON, filters and pages of studies, and the errors of the API."""

import math
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.reports.services import sign_report
from apps.studies.models import Instance, Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx

LIST = "/api/v1/studies/"


def ask(hospital: Any, path: str, **query: Any) -> Any:
    return Client().get(path, query, headers=hospital.bearer)


def uids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [study["study_instance_uid"] for study in response.json()["results"]]


def test_a_complete_study_is_the_contracts_json(north: Any, store_film: Any, read: Any, uid_of: Any) -> None:
    instance = store_film(north).instance
    read(instance, Effusion=0.71, Hernia=0.9)
    uid = uid_of(instance)

    found = ask(north, f"{LIST}{uid}/")

    assert found.status_code == 200
    body = found.json()
    assert found["Cache-Control"] == "private, no-cache"
    assert set(body) == {
        "study_instance_uid", "accession_number", "study_date", "read_instance_uid", "patient",
        "demographics_conflict", "status", "reason", "reason_code", "model_version", "abnormal",
        "findings", "report_url", "report_status", "former_reports", "new_images_since_report",
        "report_image_rejected", "intended_use", "warnings", "modalities",
    }  # fmt: skip
    assert body["patient"] == {
        "name": "SYNTHETIC^Alpha", "patient_id": "SYN-000001", "issuer": "",
        "birth_date": instance.patient_birth_date.isoformat(), "sex": instance.patient_sex,
    }  # fmt: skip
    assert body["demographics_conflict"] is False
    assert body["read_instance_uid"] == instance.sop_instance_uid
    assert body["status"] == "complete"
    assert body["reason"] is None
    assert body["model_version"] == "chest-net:3"
    assert body["report_status"] == "preliminary"
    assert body["report_url"] == f"/api/v1/studies/{uid}/report.pdf"
    assert len(body["findings"]) == 14
    by_label = {finding["label"]: finding for finding in body["findings"]}
    assert by_label["Effusion"] == {
        "label": "Effusion", "probability": 0.71, "threshold": 0.5, "positive": True,
        "uncertain": False, "localisation": "validated",
        "heatmap_url": f"/api/v1/studies/{uid}/heatmaps/Effusion.png",
    }  # fmt: skip
    assert by_label["Mass"]["localisation"] == "not validated"
    assert by_label["Hernia"]["threshold"] is None
    none = (1 - 0.71) * (1 - 0.9) * 0.9**12
    odds = (1 - none) / none / math.e
    assert body["abnormal"] == {"probability": pytest.approx(odds / (1 + odds)), "threshold": 0.5, "positive": True}
    assert by_label["Hernia"]["positive"] is False
    assert [f["probability"] for f in body["findings"]] == sorted(f["probability"] for f in body["findings"])[::-1]


def test_studies_are_found_by_report_patient_and_accession_number(
    north: Any, store_film: Any, read: Any, uid_of: Any
) -> None:
    first, second = (
        uid_of(store_film(north, seed=seed, size=256, patient_id=f"P{seed}", accession_number=f"A{seed}").instance)
        for seed in (1, 2)
    )
    with tenant_tx(north.tenant.id):
        instance = Instance.objects.get(series__study__study_instance_uid=first)
    read(instance, Mass=0.9)
    for query, found in (
        ({"report_status": "preliminary"}, [first]),
        ({"report_status": "final"}, []),
        ({"patient_id": "P2"}, [second]),
        ({"patient_id": "P"}, []),
        ({"accession_number": "A1"}, [first]),
        ({"patient_id": "P2", "issuer": "elsewhere"}, []),
        ({"patient_name": "beta"}, []),
        ({"patient_name": "synthetic^ALPHA"}, [second, first]),
        ({"patient_name": "SYN*"}, [second, first]),
        ({"modality": "DX"}, [second, first]),
        ({"modality": "MG"}, []),
        ({"birth_date": instance.patient_birth_date.isoformat()}, [first]),
        ({"birth_date": "1801-01-01"}, []),
    ):
        assert uids(ask(north, LIST, **query)) == found, query
    with tenant_tx(north.tenant.id):
        study = Study.objects.get(study_instance_uid=first)
        member = Membership.objects.get(user=north.radiologist)
        sign_report(study=study, user=north.radiologist, membership=member, impression="Mass.", agree_rest=True)
    assert uids(ask(north, LIST, report_status="final")) == [first]
    assert uids(ask(north, LIST, report_status="preliminary")) == []


def test_a_waiting_study_has_no_findings_and_no_report(north: Any, store_film: Any, uid_of: Any) -> None:
    uid = uid_of(store_film(north).instance)

    body = ask(north, f"{LIST}{uid}/").json()

    assert (body["status"], body["findings"], body["report_url"], body["report_status"], body["model_version"]) == (
        "queued", [], None, None, None,
    )  # fmt: skip


def test_a_rejected_study_says_why_and_has_no_score(north: Any, store_film: Any, version: Any, uid_of: Any) -> None:
    from apps.inference.services import claim_jobs, reject_job
    from apps.tenants.scope import tenant_tx

    instance = store_film(north).instance
    (job,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(job.tenant_id):
        reject_job(
            job=job, code="not-frontal", reason="The film is a lateral view.", instances_seen=1, instance=instance
        )

    body = ask(north, f"{LIST}{uid_of(instance)}/").json()

    assert (body["status"], body["reason"], body["findings"]) == ("rejected", "The film is a lateral view.", [])


def test_the_list_filters_by_what_was_found(north: Any, store_film: Any, read: Any, uid_of: Any) -> None:
    films = [store_film(north, seed=seed, study_date=f"2024010{seed}").instance for seed in (1, 2, 3)]
    read(films[0], Effusion=0.8)
    read(films[1], Effusion=0.3, Mass=0.6)
    one, two, three = (uid_of(film) for film in films)

    assert uids(ask(north, LIST)) == [three, two, one]
    assert uids(ask(north, LIST, status="complete")) == [two, one]
    assert uids(ask(north, LIST, status=["complete", "queued"])) == [three, two, one]
    assert uids(ask(north, LIST, label="Effusion")) == [one]
    assert uids(ask(north, LIST, label="Effusion", positive="false")) == [two]
    assert uids(ask(north, LIST, label="Effusion", min_probability="0.25")) == [two, one]
    assert uids(ask(north, LIST, min_probability="0.7")) == [one]
    assert uids(ask(north, LIST, positive="true")) == [two, one]
    assert uids(ask(north, LIST, study_date_from="2024-01-02", study_date_to="2024-01-02")) == [two]
    assert uids(ask(north, LIST, model_version="chest-net:3")) == [two, one]
    assert uids(ask(north, LIST, model_version="chest-net:4")) == []
    assert uids(ask(north, LIST, study_instance_uid=two)) == [two]
    assert uids(ask(north, LIST, ordering="study_date")) == [one, two, three]
    assert uids(ask(north, LIST, ordering="-top_probability")) == [one, two, three]


def test_the_list_filters_by_ranges_of_the_study_date(north: Any, store_film: Any, uid_of: Any) -> None:
    one, two, three = (
        uid_of(store_film(north, seed=day, size=256, study_date=f"2024010{day}").instance) for day in (1, 2, 3)
    )
    for given, found in {
        "2024-01-02": [two],
        "20240102": [two],
        "2024-01-01/2024-01-02": [two, one],
        "2024-01-02/": [three, two],
        "/2024-01-02": [two, one],
        "20240101-20240102": [two, one],
        "20240102-": [three, two],
        "-20240102": [two, one],
    }.items():
        assert uids(ask(north, LIST, study_date=given)) == found, given


def test_what_a_client_has_already_is_not_sent_again(
    north: Any, south: Any, store_film: Any, read: Any, uid_of: Any, sign_in: Any
) -> None:
    instance = store_film(north).instance
    read(instance, Effusion=0.71)
    uid = uid_of(instance)
    for address in (
        LIST, f"{LIST}{uid}/", f"{LIST}{uid}/report.pdf", f"{LIST}{uid}/heatmaps/Effusion.png", "/api/v1/models/"
    ):  # fmt: skip
        first = Client().get(address, headers=north.bearer)
        assert first["Cache-Control"] == "private, no-cache"
        known = {"if-none-match": f'"other", W/{first["ETag"]}'}
        again = Client().get(address, headers=north.bearer | known)
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"]), address
        if address != "/api/v1/models/":
            assert Client().get(address, headers=south.bearer | known).status_code in (200, 404), address
    assert sign_in(north, north.radiologist).get(LIST)["Cache-Control"] == "private, no-store"
    before = ask(north, LIST)["ETag"]
    store_film(north, seed=2)
    assert Client().get(LIST, headers=north.bearer | {"if-none-match": before}).status_code == 200
    # A page that another follows is unchanged too.
    page = f"{LIST}?page_size=1"
    known = {"if-none-match": Client().get(page, headers=north.bearer)["ETag"]}
    assert Client().get(page, headers=north.bearer | known).status_code == 304


def test_no_positive_finding_is_asked_for_by_name(north: Any, store_film: Any, read: Any, uid_of: Any) -> None:
    films = [store_film(north, seed=seed).instance for seed in (1, 2)]
    read(films[0], Mass=0.9)
    read(films[1])

    assert uids(ask(north, LIST, positive="false")) == [uid_of(films[1])]


@pytest.mark.parametrize("ordering", ["-received", "received", "-study_date", "study_date", "top_probability"])
def test_pages_cover_every_study_once_though_new_ones_arrive(
    north: Any, store_film: Any, uid_of: Any, ordering: str
) -> None:
    stored = {uid_of(store_film(north, seed=seed, size=256).instance) for seed in range(5)}

    page = ask(north, LIST, page_size=2, ordering=ordering)
    seen = uids(page)
    store_film(north, seed=99, size=256)
    while (following := page.json()["next"]) is not None:
        page = Client().get(following, headers=north.bearer)
        seen += uids(page)

    assert len(seen) == len(set(seen))
    assert stored <= set(seen)


def test_the_list_costs_the_same_queries_for_many_studies(north: Any, store_film: Any, read: Any) -> None:
    def queries_of_list(studies: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert len(uids(ask(north, LIST))) == studies
        return len(captured)

    read(store_film(north, seed=0, size=256).instance, Mass=0.9)
    queries_of_list(1)
    of_one = queries_of_list(1)
    for seed in range(1, 5):
        read(store_film(north, seed=seed, size=256).instance, Mass=0.9)
    assert queries_of_list(5) == of_one


@pytest.mark.parametrize(
    "query",
    [
        {"staus": "complete"},
        {"status": "done"},
        {"label": "Effusion\x00"},
        {"min_probability": "2"},
        {"study_date_from": "yesterday"},
        {"study_date": "20240101-2024"},
        {"study_date": "/"},
        {"patient_name": "*a" * 20},
        {"modality": "dx,cr"},
        {"model_version": "chest-net"},
        {"page_size": "100000"},
        {"ordering": "patient"},
        {"cursor": "nonsense"},
        {"cursor": "WzEsMiwzXQ"},
        {"label": ["Effusion", "Mass"]},
    ],
)
def test_a_bad_parameter_is_a_problem_that_names_it(north: Any, query: dict[str, Any]) -> None:
    answer = ask(north, LIST, **query)

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["detail"]
    assert next(iter(query)) in body.get("errors", {}) or body["code"] in (
        "cursor-invalid",
        "null-character",
        "query-value-invalid",
    )


def test_report_and_heatmap_are_files(north: Any, store_film: Any, read: Any, uid_of: Any) -> None:
    from apps.audit.models import AuditEvent
    from apps.tenants.scope import tenant_tx

    instance = store_film(north).instance
    read(instance, Effusion=0.71)
    uid = uid_of(instance)

    report = Client().get(f"{LIST}{uid}/report.pdf", headers=north.bearer | {"accept": "application/pdf"})
    heatmap = Client().get(f"{LIST}{uid}/heatmaps/Effusion.png", headers=north.bearer | {"accept": "image/png"})

    assert report.status_code == heatmap.status_code == 200
    assert report.content.startswith(b"%PDF-")
    assert report["Content-Disposition"] == 'inline; filename="north-report.pdf"'
    assert heatmap.content.startswith(b"\x89PNG")
    with tenant_tx(north.tenant.id):
        read_event = AuditEvent.objects.get(action=AuditEvent.Action.REPORT_READ)
    assert read_event.actor == "api:pacs"


def test_a_study_without_result_has_neither_report_nor_heatmap(north: Any, store_film: Any, uid_of: Any) -> None:
    uid = uid_of(store_film(north).instance)

    for part in ("report.pdf", "heatmaps/Effusion.png"):
        answer = ask(north, f"{LIST}{uid}/{part}")
        assert answer.status_code == 404
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"]


def test_nobody_and_a_key_without_the_scope_are_refused(north: Any) -> None:
    from apps.tenants.models import ApiScope
    from apps.tenants.scope import tenant_tx
    from apps.tenants.services import create_api_key

    with tenant_tx(north.tenant.id):
        _, store_only = create_api_key(name="modality", scopes=[ApiScope.STORE])

    anonymous = Client().get(LIST)
    forged = Client().get(LIST, headers={"authorization": north.bearer["authorization"] + "x"})
    scopeless = Client().get(LIST, headers={"authorization": f"Bearer {store_only}"})

    assert (anonymous.status_code, forged.status_code, scopeless.status_code) == (401, 401, 403)
    assert anonymous["WWW-Authenticate"].startswith("Bearer")
    assert all(each["Content-Type"] == "application/problem+json" for each in (anonymous, forged, scopeless))


def test_a_signed_in_member_may_read(north: Any, sign_in: Any, store_film: Any, uid_of: Any) -> None:
    uid = uid_of(store_film(north).instance)

    assert uids(sign_in(north, north.radiologist).get(LIST)) == [uid]


def test_only_reading_is_offered(north: Any) -> None:
    answer = Client().post(LIST, headers=north.bearer)

    assert answer.status_code == 405
    assert answer["Content-Type"] == "application/problem+json"
