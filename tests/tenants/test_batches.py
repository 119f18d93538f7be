"""A migration changes the rows of all tenants batch by batch, and leaves the tables as protected as they were."""

import uuid
from typing import Any

from django.db import connections, transaction

from apps.tenants.rls import TENANT_MATCHES, ChangeInBatches


def test_every_row_of_every_tenant_is_changed_once(db: None) -> None:
    with transaction.atomic(using="owner"), connections["owner"].cursor() as owner:
        owner.execute(
            "create table batched (id uuid primary key, tenant_id uuid not null, changes int not null default 0);"
            "alter table batched enable row level security;"
            "alter table batched force row level security;"
            "alter table batched no force row level security"
        )
        rows = [(uuid.uuid4(), uuid.uuid4()) for _ in range(7)]
        owner.executemany("insert into batched (id, tenant_id) values (%s, %s)", rows)
        owner.execute(
            f"alter table batched force row level security;"
            f"create policy tenant_isolation on batched for all to chx_app using ({TENANT_MATCHES})"
        )
        change: Any = ChangeInBatches(
            ["batched"],
            by="batched",
            statement="update batched set changes = changes + 1 where id = any(%(ids)s)",
            size=3,
        )
        change.database_forwards("tenants", connections["owner"].schema_editor(atomic=False), None, None)

        owner.execute("select count(*) from batched")
        assert owner.fetchone() == (0,)
        owner.execute("select polname from pg_policy where polrelid = 'batched'::regclass")
        assert owner.fetchall() == [("tenant_isolation",)]
        owner.execute("alter table batched no force row level security")
        owner.execute("select changes, count(*) from batched group by 1")
        assert owner.fetchall() == [(1, 7)]
        transaction.set_rollback(True, using="owner")
