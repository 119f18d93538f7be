"""``python -m config.migration_lint``: whether each new migration can run while the former version still serves.

During an upgrade the new tables meet processes of the former version, and a migration that holds a lock on a large
table makes every request wait. So a change that is not compatible takes three steps: expand (add what is new), migrate
(fill it, and use it), contract (remove what is no longer used, one release later). CONTRIBUTING.md has an example.

Migrations that a release has shipped are listed in ``released_migrations.txt`` and are not examined: they never change.
A migration may allow a rule, with the reason, as ``lint_allows = {"drop": "0.2.0 was the last version that read it"}``.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import django
from django.contrib.postgres import operations as postgres
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models.fields import NOT_PROVIDED

RELEASED = Path(__file__).parent / "released_migrations.txt"
# Tables that grow with every image.
LARGE_TABLES = ("studies_", "inference_", "reading_worklistentry")
RULES = {
    "not-null": "the former version inserts rows without this value. Give the column a db_default, or let it be null",
    "set-not-null": "PostgreSQL reads the whole table under a lock. Add a check constraint that is not valid, validate "
    "it in a later migration, then set the column",
    "drop": "the former version still selects it. Drop it one release after the last one that uses it",
    "rename": "the former version uses the former name. Add the new column, fill it, drop the former one later",
    "type": "PostgreSQL rewrites the table under a lock. Add and fill a new column, drop the former one later",
    "index": "writes wait until the index is built. Use AddIndexConcurrently in a migration with atomic = False",
    "constraint": "PostgreSQL reads the whole table under a lock. Use AddConstraintNotValid, then ValidateConstraint",
    "mixed": "the table stays locked while rows are changed. Change rows in a migration of their own",
}
_SQL_RULES = {
    "drop": re.compile(r"\bdrop (column|table)\b"),
    "rename": re.compile(r"\balter table [^;]*\brename\b"),
    "type": re.compile(r"\balter column \S+ (set data )?type\b"),
    "set-not-null": re.compile(r"\bset not null\b"),
    "not-null": re.compile(r"\badd column (?![^;,]*\bdefault\b)[^;,]*\bnot null\b"),
    "index": re.compile(rf"\bcreate (unique )?index (?!concurrently)[^;]*\bon \"?({'|'.join(LARGE_TABLES)})"),
}


@dataclass(frozen=True)
class Problem:
    """One rule that one operation of a migration breaks."""

    migration: str
    operation: str
    rule: str

    def __str__(self) -> str:
        return f"{self.migration}: {self.operation}: {self.rule}: {RULES[self.rule]}."


def find_problems(loader: MigrationLoader, released: frozenset[str]) -> list[Problem]:
    """The rules that migrations of ``apps`` break which no release has shipped yet.

    Args:
        loader: the migrations on the disk.
        released: names such as ``studies.0001_initial``.
    """
    found = []
    for app_label, name in sorted(own_migrations(loader)):
        if f"{app_label}.{name}" in released:
            continue
        migration = loader.disk_migrations[app_label, name]
        allowed = getattr(migration, "lint_allows", {})
        state = loader.project_state((app_label, name), at_end=False)
        found += [
            Problem(f"{app_label}.{name}", operation, rule)
            for operation, rule in _Reader(app_label, state).read(migration.operations)
            if not allowed.get(rule)
        ]
    return found


def own_migrations(loader: MigrationLoader) -> list[tuple[str, str]]:
    """The migrations of this project's own apps, as app label and name."""
    apps = django.apps.apps.get_app_configs()
    own = {config.label for config in apps if config.name.startswith("apps.")}
    return [key for key in loader.disk_migrations if key[0] in own]


class _Reader:
    """Reads the operations of one migration in their order.

    Attributes:
        created: models that the migration itself creates; no session waits for their tables.
        altered: whether it has locked a large table so far.
    """

    def __init__(self, app_label: str, state: ProjectState) -> None:
        self.app_label = app_label
        self.state = state
        self.created: set[str] = set()
        self.altered = False

    def read(self, operations: Sequence[Operation]) -> Iterator[tuple[str, str]]:
        """Each operation that breaks a rule, described, with the rule's name."""
        for operation in operations:
            if isinstance(operation, migrations.SeparateDatabaseAndState):
                yield from self.read(operation.database_operations)
                continue
            for rule in self._rules(operation):
                yield operation.describe(), rule
            operation.state_forwards(self.app_label, self.state)

    def _rules(self, operation: Operation) -> Iterator[str]:
        if isinstance(operation, migrations.CreateModel):
            self.created.add(operation.name_lower)
        elif isinstance(operation, migrations.RunSQL):
            yield from self._sql_rules(operation)
        elif isinstance(operation, migrations.RunPython):
            if self.altered:
                yield "mixed"
        elif isinstance(operation, migrations.DeleteModel):
            yield "drop"
        elif isinstance(operation, migrations.RenameModel | migrations.AlterModelTable):
            yield "rename"
        elif (getattr(operation, "model_name", "") or getattr(operation, "name", "")).lower() not in self.created:
            yield from self._table_rules(operation)

    def _table_rules(self, operation: Operation) -> Iterator[str]:
        if isinstance(operation, migrations.RemoveField):
            yield "drop"
        elif isinstance(operation, migrations.RenameField):
            yield "rename"
        elif isinstance(operation, migrations.AddField):
            yield from self._added(operation)
        elif isinstance(operation, migrations.AlterField):
            yield from self._changed(operation)
        elif isinstance(operation, migrations.AddIndex):
            if self._is_large(operation) and not isinstance(operation, postgres.AddIndexConcurrently):
                yield "index"
        elif (
            isinstance(operation, migrations.AddConstraint)
            and self._is_large(operation)
            and not isinstance(operation, postgres.AddConstraintNotValid)
        ):
            yield "index" if isinstance(operation.constraint, models.UniqueConstraint) else "constraint"

    def _added(self, operation: migrations.AddField) -> Iterator[str]:
        field = operation.field
        if field.many_to_many:
            return
        self.altered = self.altered or self._is_large(operation)
        has_value = field.null or field.db_default is not NOT_PROVIDED or isinstance(field, models.GeneratedField)
        if not has_value:
            yield "not-null"
        if self._is_large(operation) and _is_indexed(field):
            yield "index"

    def _changed(self, operation: migrations.AlterField) -> Iterator[str]:
        former = self.state.models[self.app_label, operation.model_name_lower].fields[operation.name]
        field = operation.field
        self.altered = self.altered or self._is_large(operation)
        if former.null and not field.null:
            yield "set-not-null"
        longest, former_longest = getattr(field, "max_length", None), getattr(former, "max_length", None)
        shorter = longest is not None and (former_longest is None or longest < former_longest)
        if field.get_internal_type() != former.get_internal_type() or shorter:
            yield "type"
        if self._is_large(operation) and _is_indexed(field) and not _is_indexed(former):
            yield "index"

    def _sql_rules(self, operation: migrations.RunSQL) -> Iterator[str]:
        statements = [operation.sql] if isinstance(operation.sql, str) else list(operation.sql or [])
        texts = [each if isinstance(each, str) else each[0] for each in statements]
        text = re.sub(r"\s+", " ", ";".join(texts)).lower()
        yield from (rule for rule, pattern in _SQL_RULES.items() if pattern.search(text))

    def _is_large(self, operation: Operation) -> bool:
        model = self.state.models[self.app_label, operation.model_name.lower()]  # type: ignore[attr-defined]
        table = model.options.get("db_table") or f"{self.app_label}_{model.name_lower}"
        return str(table).startswith(LARGE_TABLES)


def _is_indexed(field: models.Field) -> bool:
    return bool(getattr(field, "db_index", False) or getattr(field, "unique", False))


def read_released() -> frozenset[str]:
    """The migrations of the last release."""
    return frozenset(line for line in RELEASED.read_text().splitlines() if line and not line.startswith("#"))


def main(arguments: Sequence[str]) -> str | None:
    """What is wrong, or None; ``--release`` writes the list of released migrations instead."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    django.setup()
    loader = MigrationLoader(None, ignore_no_migrations=True)
    if list(arguments) == ["--release"]:
        names = sorted(f"{app_label}.{name}" for app_label, name in own_migrations(loader))
        RELEASED.write_text("# Written by `make release-migrations`.\n" + "\n".join(names) + "\n")
        return None
    return "\n".join(str(problem) for problem in find_problems(loader, read_released())) or None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
