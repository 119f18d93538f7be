"""No serving process can change or delete a signed report; only the role of erasure can."""

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from django.db import DatabaseError, IntegrityError, ProgrammingError, connection, connections

from apps.reports.models import Report, ReportDraft
from apps.reports.services import sign_report
from apps.studies.models import Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from config.embedded.postgres import DATABASE, admin_dsn
from tests.conftest import Hospital


@pytest.fixture
def signed(north: Hospital, read_study: Callable[..., Study]) -> Study:
    study = read_study(north)
    with tenant_tx(north.tenant.id):
        membership = Membership.objects.get(user=north.radiologist)
        sign_report(study=study, user=north.radiologist, membership=membership, impression="No effusion.")
    return study


def test_a_signed_report_does_not_change(north: Hospital, signed: Study) -> None:
    for change in (
        lambda: Report.objects.update(impression="x"),
        lambda: Report.objects.update(status="preliminary"),
        lambda: Report.objects.all().delete(),
        lambda: Study.objects.get(pk=signed.pk).delete(),
    ):
        with pytest.raises(DatabaseError), tenant_tx(north.tenant.id):
            change()
    with tenant_tx(north.tenant.id):
        report = Report.objects.get()
    assert report.impression == "No effusion."


def test_nor_by_sql_that_deletes_the_study(north: Hospital, signed: Study) -> None:
    # The foreign keys are checked when the transaction ends.
    with (
        pytest.raises(IntegrityError, match="violates foreign key"),
        tenant_tx(north.tenant.id),
        connection.cursor() as cursor,
    ):
        cursor.execute("delete from studies_study where id = %s", [signed.pk])
    with tenant_tx(north.tenant.id):
        assert Study.objects.filter(pk=signed.pk).exists()


def test_a_draft_still_changes(north: Hospital, read_study: Callable[..., Study]) -> None:
    read_study(north)
    with tenant_tx(north.tenant.id):
        draft = ReportDraft.objects.get()
        assert ReportDraft.objects.update(created=draft.created) == 1
        assert ReportDraft.objects.all().delete()[0] == 1


def test_erasure_alone_may_and_in_one_tenant(north: Hospital, south: Hospital, signed: Study) -> None:
    superuser = psycopg2.connect(**admin_dsn(DATABASE))
    try:
        with superuser.cursor() as cursor:
            cursor.execute("set local role chx_erase")
            for tenant, found in ((south.tenant.id, 0), (north.tenant.id, 1)):
                cursor.execute("select set_config('app.tenant', %s, true)", [str(tenant)])
                cursor.execute("delete from reports_report")
                assert cursor.rowcount == found
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("delete from studies_study")
    finally:
        superuser.rollback()
        superuser.close()


def test_no_process_may_become_erasure(db: Any) -> None:
    for alias in ("default", "dispatch", "auth"):
        with pytest.raises(ProgrammingError, match="permission denied"), connections[alias].cursor() as cursor:
            cursor.execute("set role chx_erase")
