"""Operations of migrations that build indexes of large tables while other sessions read and write them."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently as DjangoAddIndexConcurrently
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState


class AddIndexConcurrently(DjangoAddIndexConcurrently):
    """Django's operation, which waits for older transactions as long as they take, and can be repeated.

    It makes no request wait, so the owner's ``lock_timeout`` would only end it, behind a backup for example. An index
    that a stopped build left is invalid: it is dropped first.
    """

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if schema_editor.collect_sql:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        schema_editor.execute("set lock_timeout = 0")
        try:
            if _is_invalid(schema_editor.connection, self.index.name):
                schema_editor.execute(f"drop index concurrently {schema_editor.quote_name(self.index.name)}")
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        finally:
            schema_editor.execute("reset lock_timeout")


def _is_invalid(connection: Any, name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("select not indisvalid from pg_index where indexrelid = to_regclass(%s)", [name])
        row = cursor.fetchone()
    return bool(row and row[0])
