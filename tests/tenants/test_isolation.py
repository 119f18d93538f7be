"""Row-level security on the real server, through the real roles."""

from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, ProgrammingError, connection, connections, transaction

from apps.studies.models import Instance, Patient, Series, Study
from apps.tenants.models import ApiClient, Membership
from apps.tenants.scope import TenantScopeError, current_tenant_id, tenant_tx


@pytest.fixture
def studies(north: Any, south: Any) -> dict[str, Study]:
    """One study in each hospital, under the same StudyInstanceUID."""
    made = {}
    for hospital in (north, south):
        with tenant_tx(hospital.tenant.id):
            patient = Patient.objects.create(patient_id=f"CANARY^{hospital.tenant.slug}")
            made[hospital.tenant.slug] = Study.objects.create(patient=patient, study_instance_uid="1.2.3")
    return made


def test_without_a_tenant_there_are_no_rows(studies: Any) -> None:
    for model in (Study, Patient, Membership, ApiClient):
        assert model.objects.count() == 0
    with transaction.atomic():
        assert Study.objects.count() == 0


def test_the_owner_of_the_tables_sees_no_rows_either(studies: Any) -> None:
    assert Study.objects.using("owner").count() == 0


def test_each_tenant_sees_its_own(north: Any, south: Any, studies: Any) -> None:
    for hospital in (north, south):
        with tenant_tx(hospital.tenant.id):
            assert [study.pk for study in Study.objects.all()] == [studies[hospital.tenant.slug].pk]


def test_rows_of_another_tenant_cannot_be_written(north: Any, south: Any, studies: Any) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), tenant_tx(north.tenant.id):
        Patient.objects.create(tenant_id=south.tenant.id)
    with pytest.raises(ProgrammingError, match="row-level security"), tenant_tx(north.tenant.id):
        Study.objects.update(tenant_id=south.tenant.id)
    with tenant_tx(north.tenant.id):
        assert Study.objects.filter(pk=studies["south"].pk).update(study_id="x") == 0
        assert Study.objects.filter(pk=studies["south"].pk).delete()[0] == 0
    with tenant_tx(south.tenant.id):
        assert Study.objects.get().study_id == ""


def test_a_reference_cannot_leave_the_tenant(north: Any, studies: Any) -> None:
    with pytest.raises(IntegrityError, match="tenant_fk"), tenant_tx(north.tenant.id):
        Series.objects.create(study_id=studies["south"].pk, series_instance_uid="1.2.3.4")


def test_two_tenants_may_hold_the_same_uid(north: Any, south: Any, studies: Any) -> None:
    for hospital in (north, south):
        with tenant_tx(hospital.tenant.id):
            series = Series.objects.create(study=Study.objects.get(), series_instance_uid="1.2.3.4")
            Instance.objects.create(
                series=series, sop_instance_uid="1.2.3.4.5", sop_class_uid="1.2", transfer_syntax_uid="1.2",
                rows=1, columns=1, sha256="0" * 64, size=1,
            )  # fmt: skip
    for hospital in (north, south):
        with tenant_tx(hospital.tenant.id):
            assert Instance.objects.count() == 1


def test_the_tenant_ends_with_its_transaction(north: Any, studies: Any) -> None:
    with tenant_tx(north.tenant.id):
        assert Study.objects.count() == 1
    assert Study.objects.count() == 0
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('app.tenant', true)")
        assert cursor.fetchone()[0] in (None, "")


def test_the_tenant_ends_with_an_error(north: Any, studies: Any) -> None:
    with pytest.raises(DatabaseError), tenant_tx(north.tenant.id), connection.cursor() as cursor:
        cursor.execute("select 1 / 0")
    assert Study.objects.count() == 0
    with pytest.raises(TenantScopeError):
        current_tenant_id()


def test_a_savepoint_keeps_the_tenant(north: Any, studies: Any) -> None:
    with tenant_tx(north.tenant.id):
        with pytest.raises(DatabaseError), tenant_tx(north.tenant.id):
            Patient.objects.create(patient_id="x" * 1000)
        assert Patient.objects.count() == 1
        with tenant_tx(north.tenant.id):
            assert Study.objects.count() == 1
        assert Study.objects.count() == 1


def test_another_tenant_inside_is_refused(north: Any, south: Any, studies: Any) -> None:
    with tenant_tx(north.tenant.id):
        with pytest.raises(TenantScopeError), tenant_tx(south.tenant.id):
            raise AssertionError
        assert Study.objects.get().pk == studies["north"].pk


def test_a_tenant_inside_a_foreign_transaction_is_refused(north: Any) -> None:
    with transaction.atomic(), pytest.raises(TenantScopeError), tenant_tx(north.tenant.id):
        raise AssertionError


def test_what_follows_a_commit_has_no_tenant(north: Any, studies: Any) -> None:
    seen = []
    with tenant_tx(north.tenant.id):
        transaction.on_commit(lambda: seen.append(Study.objects.count()))
    assert seen == [0]


@pytest.mark.parametrize(
    "statement",
    [
        "truncate studies_study cascade",
        "alter table studies_study disable row level security",
        "drop policy tenant_isolation on studies_study",
        "set role chx_owner",
        "set session authorization chx_owner",
        "update audit_auditevent set actor = ''",
        "delete from audit_auditevent",
        "delete from registry_activation",
        "create table mine (id int)",
    ],
)
def test_the_applications_role_may_not(north: Any, statement: str) -> None:
    with pytest.raises(ProgrammingError), tenant_tx(north.tenant.id), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("alias", "statement"),
    [
        ("dispatch", "select * from studies_patient"),
        ("dispatch", "select * from inference_inferencejob"),
        ("dispatch", "select top_label from inference_inferencejob"),
        ("dispatch", "update inference_inferencejob set tenant_id = study_id"),
        ("dispatch", "delete from inference_inferencejob"),
        ("dispatch", "select * from tenants_apiclient"),
        ("auth", "select * from tenants_apiclient"),
        ("auth", "select * from studies_study"),
        ("auth", "update tenants_membership set role = 'admin'"),
    ],
)
def test_the_narrow_roles_may_not(db: None, alias: str, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), connections[alias].cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("alias", ["default", "dispatch", "auth"])
@pytest.mark.parametrize(
    "statement",
    [
        "update {table} set id = id",
        "delete from {table}",
    ],
)
@pytest.mark.parametrize("table", ["audit_auditevent", "audit_securityevent", "django_admin_log"])
def test_what_is_written_once_stays(db: None, alias: str, statement: str, table: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), connections[alias].cursor() as cursor:
        cursor.execute(statement.format(table=table))
