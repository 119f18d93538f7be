"""The catalogue check, and proof that it works: each rule is broken once, in a transaction that is rolled back."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction

from config.embedded.postgres import DATABASE, admin_dsn
from tests.tenants.catalogue import ABOUT_TENANTS, PLATFORM_TABLES, defects

GOOD_TABLE = """
create table leak (id uuid primary key, tenant_id uuid not null references tenants_tenant,
                   unique (tenant_id, id));
alter table leak enable row level security;
alter table leak force row level security;
create policy tenant_isolation on leak for all to chx_app
  using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid))
  with check (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
"""
ERASURE = "create policy tenant_erasure on leak for all to chx_erase"


def test_every_table_keeps_the_rules(db: None) -> None:
    with connections["owner"].cursor() as cursor:
        assert defects(cursor) == []


def test_every_signed_off_table_exists(db: None) -> None:
    assert set(ABOUT_TENANTS) <= set(PLATFORM_TABLES) <= set(connections["owner"].introspection.table_names())


@pytest.fixture
def owner(db: None) -> Iterator[Any]:
    """The owner's cursor in a transaction that is undone."""
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        yield cursor
        transaction.set_rollback(True, using="owner")


def test_a_good_table_passes(owner: Any) -> None:
    owner.execute(GOOD_TABLE)
    assert defects(owner) == []


@pytest.mark.parametrize(
    ("breakage", "complaint"),
    [
        ("create table leak (id uuid primary key)", "has no tenant_id"),
        ("create table leak (id uuid primary key, tenant_id uuid)", "has no tenant_id that is not null"),
        (f"{GOOD_TABLE} alter table leak no force row level security", "not enabled and forced"),
        (f"{GOOD_TABLE} alter table leak disable row level security", "not enabled and forced"),
        (f"{GOOD_TABLE} drop policy tenant_isolation on leak", "exactly one policy"),
        (f"{GOOD_TABLE} alter policy tenant_isolation on leak with check (true)", "exactly one policy"),
        (f"{GOOD_TABLE} alter policy tenant_isolation on leak using (true)", "exactly one policy"),
        (f"{GOOD_TABLE} create policy more on leak for select to chx_app using (true)", "exactly one policy"),
        (f"{GOOD_TABLE} create policy everybody on leak using (true)", "not signed off"),
        (
            f"{GOOD_TABLE} create policy chx_dispatch_across on leak for select to chx_dispatch using (true)",
            "sees more than the queue",
        ),
        (f"{GOOD_TABLE} alter table leak drop constraint leak_tenant_id_id_key", "no index leads with tenant_id"),
        (f"{GOOD_TABLE} alter table leak add uid text unique", "is unique across tenants"),
        (f"{GOOD_TABLE} alter table leak add uid text, add unique (uid, tenant_id)", "is unique across tenants"),
        (f"{GOOD_TABLE} create unique index on leak (lower(id::text))", "is unique across tenants"),
        (f"{GOOD_TABLE} alter table leak add study uuid references studies_study", "can reference another tenant's"),
        ("create view leak as select * from studies_study", "must be security_invoker"),
        ("create materialized view leak as select * from studies_study", "holds all tenants' rows"),
        (
            "create function leak() returns bigint language sql security definer as 'select 1::bigint'",
            "SECURITY DEFINER",
        ),
        (f"{GOOD_TABLE} {ERASURE} using (true)", "chx_erase needs the tenant's plain equality"),
        ("grant update on audit_auditevent to chx_app", "audit_auditevent: chx_app has and should not have UPDATE"),
        ("grant update (reason) on registry_activation to chx_app", "chx_app UPDATE has and should not have reason"),
        ("grant delete on django_admin_log to chx_app", "chx_app has and should not have DELETE"),
        ("grant truncate on reports_report to chx_app", "reports_report: chx_app has and should not have TRUNCATE"),
        ("grant select on studies_patient to chx_dispatch", "chx_dispatch has and should not have SELECT"),
        (
            "grant select (patient_id) on studies_patient to chx_auth",
            "chx_auth SELECT has and should not have patient_id",
        ),
        ("grant delete on studies_study to chx_erase", "chx_erase has and should not have DELETE"),
        ("grant select on tenants_tenant to public", "everybody has and should not have SELECT"),
        (
            f"{GOOD_TABLE} revoke update on leak from chx_app",
            "leak: chx_app lacks UPDATE",
        ),
        ("alter table registry_deployment add tenant_id uuid not null", "yet has tenant_id"),
        ("alter table registry_modelversion add owner uuid references tenants_tenant", "no reason in ABOUT_TENANTS"),
    ],
)
def test_a_broken_rule_is_noticed(owner: Any, breakage: str, complaint: str) -> None:
    owner.execute(breakage)

    (defect,) = defects(owner)
    assert complaint in defect


@pytest.mark.parametrize(
    ("breakage", "complaint"),
    [
        ("alter role chx_app bypassrls", "chx_app: the role is too powerful"),
        ("alter role chx_dispatch superuser", "chx_dispatch: the role is too powerful"),
        ("grant chx_owner to chx_app", "chx_app is a member of chx_owner"),
        ("create table leak (id int)", "owned by postgres"),
    ],
)
def test_a_role_that_grew_is_noticed(db: None, breakage: str, complaint: str) -> None:
    import psycopg2

    superuser = psycopg2.connect(**admin_dsn(DATABASE))
    try:
        with superuser.cursor() as cursor:
            cursor.execute(breakage)
            assert any(complaint in defect for defect in defects(cursor))
    finally:
        superuser.rollback()
        superuser.close()
