"""Row-level security as migration operations."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import UniqueConstraint

from apps.tenants.fields import TenantForeignKey
from apps.tenants.roles import APP, ERASE

# `nullif`: after a transaction that used it, the setting reads '' instead of null. The sub-select runs once a query.
TENANT_MATCHES = "tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid)"


class _TableOperation(Operation):
    """An operation on the table of one model; the project state does not change."""

    reversible = True
    reduces_to_sql = True

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        pass

    def _run(self, editor: BaseDatabaseSchemaEditor, statements: Sequence[str]) -> None:
        for statement in statements:
            editor.execute(statement)

    def _model(self, app_label: str, state: ProjectState) -> Any:
        return state.apps.get_model(app_label, self.model_name)


class IsolateTenant(_TableOperation):
    """Enable and force row-level security on a tenant's table, with one equality policy, and tie its foreign keys."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = self._model(app_label, to_state)
        table = model._meta.db_table
        self._run(
            schema_editor,
            [
                f"alter table {table} enable row level security",
                f"alter table {table} force row level security",
                (
                    f"create policy tenant_isolation on {table} for all to {APP} "
                    f"using ({TENANT_MATCHES}) with check ({TENANT_MATCHES})"
                ),
                *self._foreign_keys(model),
            ],
        )

    @staticmethod
    def _foreign_keys(model: Any) -> list[str]:
        table = model._meta.db_table
        statements = []
        for field in model._meta.local_fields:
            if isinstance(field, TenantForeignKey):
                target = field.related_model._meta.db_table
                if not _leads_an_index(model, field.name):
                    statements.append(f"create index {table}_{field.column}_idx on {table} (tenant_id, {field.column})")
                statements.append(
                    f"alter table {table} add constraint {table}_{field.column}_tenant_fk "
                    f"foreign key (tenant_id, {field.column}) references {target} (tenant_id, id) "
                    "deferrable initially deferred"
                )
        return statements

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = self._model(app_label, from_state)._meta.db_table
        self._run(
            schema_editor,
            [
                f"drop policy tenant_isolation on {table}",
                f"alter table {table} no force row level security",
                f"alter table {table} disable row level security",
            ],
        )

    def describe(self) -> str:
        return f"Isolate the tenants in {self.model_name}"


def _leads_an_index(model: Any, name: str) -> bool:
    """Whether an index that the model has anyway begins with the tenant and this field."""
    constraints = [each for each in model._meta.constraints if isinstance(each, UniqueConstraint)]
    unique = [each.fields for each in constraints if not each.condition]
    plain = [each.fields for each in model._meta.indexes if not each.condition]
    return any(list(fields[:2]) == ["tenant", name] for fields in [*unique, *plain])


class GrantColumns(_TableOperation):
    """Let a narrow role read the named columns of one of the platform's tables."""

    def __init__(self, model_name: str, role: str, select: Sequence[str]) -> None:
        super().__init__(model_name)
        self.role = role
        self.select = tuple(select)

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = self._model(app_label, to_state)._meta.db_table
        self._run(schema_editor, [f"grant select ({', '.join(self.select)}) on {table} to {self.role}"])

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = self._model(app_label, from_state)._meta.db_table
        columns = ", ".join(self.select)
        self._run(schema_editor, [f"revoke select ({columns}) on {table} from {self.role}"])  # noqa: S608

    def describe(self) -> str:
        return f"Let {self.role} read {self.model_name}"


class GrantAcrossTenants(_TableOperation):
    """Let a narrow role see every tenant's rows of one table, in the named columns only."""

    def __init__(self, model_name: str, role: str, select: Sequence[str], update: Sequence[str] = ()) -> None:
        super().__init__(model_name)
        self.role = role
        self.select = tuple(select)
        self.update = tuple(update)

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = self._model(app_label, to_state)._meta.db_table
        statements = [f"grant select ({', '.join(self.select)}) on {table} to {self.role}"]
        if self.update:
            statements.append(f"grant update ({', '.join(self.update)}) on {table} to {self.role}")
        commands = "all" if self.update else "select"
        statements.append(f"create policy {self.role}_across on {table} for {commands} to {self.role} using (true)")
        self._run(schema_editor, statements)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = self._model(app_label, from_state)._meta.db_table
        self._run(
            schema_editor, [f"drop policy {self.role}_across on {table}", f"revoke all on {table} from {self.role}"]
        )

    def describe(self) -> str:
        return f"Let {self.role} see {self.model_name} across tenants"


class AppendOnly(_TableOperation):
    """Rows of this table are written once: the application's role may neither change nor delete them."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = self._model(app_label, to_state)._meta.db_table
        self._run(schema_editor, [f"revoke update, delete, truncate on {table} from {APP}"])

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = self._model(app_label, from_state)._meta.db_table
        self._run(schema_editor, [f"grant update, delete on {table} to {APP}"])

    def describe(self) -> str:
        return f"Make {self.model_name} append-only"


class WithoutRowSecurity(Operation):
    """One statement of a migration over the rows of all tenants.

    Row-level security is forced on the owner too, so a plain statement of a migration sees no row. The tables stay
    locked until the migration's transaction ends, so that no other session meets them without it.
    """

    reversible = True
    reduces_to_sql = True

    def __init__(self, tables: Sequence[str], statement: str) -> None:
        self.tables = tuple(tables)
        self.statement = statement

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        pass

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        for table in self.tables:
            schema_editor.execute(f"alter table {table} no force row level security")
        schema_editor.execute(self.statement)
        # A table with checks that wait for the commit cannot be altered.
        schema_editor.execute("set constraints all immediate")
        for table in self.tables:
            schema_editor.execute(f"alter table {table} force row level security")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        pass

    def describe(self) -> str:
        return f"Change rows of {', '.join(self.tables)}"


class ChangeInBatches(Operation):
    """A change of a migration to the rows of all tenants of a large table, which many short statements make.

    Other sessions go on, because no table stays locked: a policy, and not the absence of one, lets the owner see all
    rows meanwhile. The migration needs ``atomic = False``, and a statement that leaves out what it has done already: a
    migration that was stopped begins again.

    Args:
        tables: those that the statement reads and changes.
        by: the table by whose ids the batches are made; the rows of a batch are locked while it is changed.
        statement: with ``= any(%(ids)s)``.
    """

    reversible = True

    def __init__(self, tables: Sequence[str], *, by: str, statement: str, size: int = 5000) -> None:
        self.tables = tuple(tables)
        self.by = by
        self.statement = statement
        self.size = size

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        pass

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if schema_editor.collect_sql:
            return
        self._drop_policies(schema_editor)
        try:
            for table in self.tables:
                schema_editor.execute(f"create policy migration on {table} to current_user using (true)")
            with schema_editor.connection.cursor() as cursor:
                self._change(cursor)
        finally:
            self._drop_policies(schema_editor)

    def _change(self, cursor: Any) -> None:
        last = UUID(int=0)
        batch = f"select id from {self.by} where id > %s order by id limit %s"  # noqa: S608
        lock = f"select id from {self.by} where id = any(%s) order by id for no key update"  # noqa: S608
        while True:
            cursor.execute(batch, [last, self.size])
            ids = [row[0] for row in cursor.fetchall()]
            if not ids:
                return
            with transaction.atomic(using=cursor.db.alias):
                # What changes at this moment is seen by the statement, which begins after the lock.
                cursor.execute(lock, [ids])
                cursor.execute(self.statement, {"ids": ids})
            last = ids[-1]

    def _drop_policies(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        for table in self.tables:
            schema_editor.execute(f"drop policy if exists migration on {table}")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        pass

    def describe(self) -> str:
        return f"Change rows of {', '.join(self.tables)} in batches"


class LetErase(_TableOperation):
    """Let the role of erasure and retention read, change and delete rows of this table.

    Where the table is a tenant's, that role too sees one tenant at a time, by the same equality.
    """

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = self._model(app_label, to_state)
        table = model._meta.db_table
        statements = [f"grant select, update, delete on {table} to {ERASE}"]
        if "tenant" in {field.name for field in model._meta.local_fields}:
            statements.append(
                f"create policy tenant_erasure on {table} for all to {ERASE} "
                f"using ({TENANT_MATCHES}) with check ({TENANT_MATCHES})"
            )
        self._run(schema_editor, statements)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = self._model(app_label, from_state)._meta.db_table
        self._run(
            schema_editor, [f"drop policy if exists tenant_erasure on {table}", f"revoke all on {table} from {ERASE}"]
        )

    def describe(self) -> str:
        return f"Let {ERASE} erase {self.model_name}"
