"""Reads, searches, exports and refusals are audited; the database sets the time and the role."""

import datetime
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.services import ACCESS_WINDOW, Actor, record, record_once
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital

READ = AuditEvent.Action.STUDY_VIEWED
BY = Actor(name="test")


@pytest.fixture
def study(north: Hospital, store_film: Callable[..., Any]) -> Study:
    return store_film(north, size=128).study


def lines(hospital: Hospital, **wanted: Any) -> list[tuple[str, str]]:
    with tenant_tx(hospital.tenant.id):
        found = AuditEvent.objects.filter(**wanted).exclude(action=AuditEvent.Action.INSTANCE_STORED).order_by("id")
        return list(found.values_list("action", "operation"))


def test_a_page_with_its_pictures_and_reloads_is_one_access(
    north: Hospital, study: Study, sign_in: Callable[..., Client]
) -> None:
    reader = sign_in(north, north.radiologist)
    page = f"/studies/{study.pk}/"
    assert reader.get(page).status_code == 200
    for address, headers in ((f"{page}film.png", {}), (f"{page}state/", {}), (page, {"X-Fragment": "1"})):
        assert reader.get(address, headers=headers).status_code == 200
    assert lines(north, object_id=study.pk) == [("study.viewed", "portal:study")]
    assert reader.get(page).status_code == 200
    assert len(lines(north, object_id=study.pk)) == 2


@pytest.mark.parametrize(
    ("address", "headers", "operation"),
    [
        ("", {"X-Fragment": "1"}, "portal:study"),
        ("film.png", {}, "portal:film"),
        ("state/", {}, "portal:state"),
    ],
)
def test_what_a_script_asks_for_without_the_page_is_an_access(
    north: Hospital, study: Study, sign_in: Callable[..., Client], address: str, headers: dict[str, str], operation: str
) -> None:
    reader = sign_in(north, north.technologist)
    reader.get(f"/studies/{study.pk}/{address}", headers=headers)
    assert lines(north) == [("study.viewed", operation)]
    with tenant_tx(north.tenant.id):
        assert AuditEvent.objects.get(action=READ).user_id == north.technologist.pk


def test_the_access_of_one_person_does_not_hide_anothers(
    north: Hospital, study: Study, sign_in: Callable[..., Client]
) -> None:
    for person in (north.technologist, north.radiologist):
        sign_in(north, person).get(f"/studies/{study.pk}/film.png")
    assert lines(north) == [("study.viewed", "portal:film")] * 2


def test_after_a_while_the_same_access_is_recorded_again(north: Hospital, study: Study) -> None:
    with tenant_tx(north.tenant.id):
        record_once(action=READ, by=BY, object_id=study.pk)
        record_once(action=READ, by=BY, object_id=study.pk)
        assert AuditEvent.objects.filter(action=READ).count() == 1
        with connection.cursor() as cursor, pytest.MonkeyPatch.context() as patch:
            cursor.execute("select pg_sleep(0.05)")
            patch.setattr("apps.audit.services.ACCESS_WINDOW", datetime.timedelta(milliseconds=-1000))
            record_once(action=READ, by=BY, object_id=study.pk)
        assert AuditEvent.objects.filter(action=READ).count() == 2
    assert datetime.timedelta(minutes=15) >= ACCESS_WINDOW


def test_machines_reads_and_searches(north: Hospital, study: Study) -> None:
    with tenant_tx(north.tenant.id):
        uid = study.study_instance_uid
    pacs = Client(headers=north.bearer)
    assert pacs.get("/api/v1/studies/").status_code == 200
    assert pacs.get(f"/api/v1/studies/{uid}/").status_code == 200
    assert lines(north) == [("studies.searched", "api:studies"), ("study.viewed", "api:study")]
    with tenant_tx(north.tenant.id):
        search, read = AuditEvent.objects.filter(actor="api:pacs").exclude(action="instance.stored").order_by("id")
        assert (search.amount, search.object_id, read.object_id) == (1, None, study.pk)


def test_the_worklist_is_a_search_and_its_polls_are_the_same_one(
    north: Hospital, sign_in: Callable[..., Client]
) -> None:
    reader = sign_in(north, north.radiologist)
    reader.get("/")
    for _ in range(3):
        reader.get("/", headers={"X-Fragment": "1"})
    assert lines(north) == [("studies.searched", "portal:worklist")]


def test_a_refusal_outlives_its_transaction(
    north: Hospital, south: Hospital, study: Study, sign_in: Callable[..., Client]
) -> None:
    technologist = sign_in(north, north.technologist)
    assert technologist.get(f"/studies/{study.pk}/report.pdf").status_code == 403
    stranger = sign_in(south, south.radiologist)
    assert stranger.get(f"/studies/{study.pk}/").status_code == 404
    assert lines(north) == [("request.refused", "portal:report-pdf")]
    assert lines(south) == [("request.refused", "portal:study")]
    with tenant_tx(north.tenant.id):
        refused = AuditEvent.objects.get(action=AuditEvent.Action.REQUEST_REFUSED)
        assert refused.outcome == AuditEvent.Outcome.MINOR_FAILURE
        assert refused.object_id is None


def test_the_database_stamps_time_and_role_whatever_the_process_says(north: Hospital) -> None:
    long_ago = timezone.now() - datetime.timedelta(days=400)
    with tenant_tx(north.tenant.id):
        record(action=READ, by=BY)
        AuditEvent.objects.create(action=READ, actor="forged", at=long_ago, database_role="postgres", id=uuid4())
        for each in AuditEvent.objects.all():
            each.refresh_from_db()
            assert each.database_role == "chx_app"
            assert abs(timezone.now() - each.at) < datetime.timedelta(minutes=1)
