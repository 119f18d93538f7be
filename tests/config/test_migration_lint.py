"""The migration lint finds incompatible migrations, and a migration that gets no lock gives up with advice."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.db.migrations.loader import MigrationLoader

from apps.core.management.commands import migrate
from apps.tenants.roles import LIMITS, OWNER
from config import migration_lint
from tests.conftest import PROJECT_ROOT

MIGRATION = """
from django.contrib.postgres import operations as postgres
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("studies", "{former}")]
    {attributes}
    operations = [{operations}]
"""
ADD = 'migrations.AddField("study", "note", models.TextField({}))'
ID = "models.BigAutoField(primary_key=True)"
INDEX = 'postgres.AddIndexConcurrently("study", models.Index(fields=["status"], name="by_status"))'
CHECK = 'models.CheckConstraint(condition=models.Q(tenant__isnull=False), name="has_tenant")'


@pytest.fixture
def add_migration(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[..., str]:
    """Add one migration to those of ``studies``, in a copy of their package; its name."""

    def added(*operations: str, attributes: str = "") -> str:
        package = f"late_migrations_{abs(hash(request.node.name))}"
        folder = tmp_path / package
        shutil.copytree(PROJECT_ROOT / "apps" / "studies" / "migrations", folder)
        former = max(path.stem for path in folder.glob("0*.py"))
        text = MIGRATION.format(former=former, attributes=attributes, operations=", ".join(operations))
        (folder / "9999_late.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        settings.MIGRATION_MODULES = {"studies": package}
        return former

    return added


def rules_broken() -> list[str]:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    problems = migration_lint.find_problems(loader, migration_lint.read_released())
    return [problem.rule for problem in problems if problem.migration == "studies.9999_late"]


@pytest.mark.parametrize(
    ("operations", "rules"),
    [
        ([ADD.format("")], ["not-null"]),
        ([ADD.format('default=""')], ["not-null"]),
        ([ADD.format("null=True, unique=True")], ["index"]),
        (['migrations.RemoveField("study", "accession_number")'], ["drop"]),
        (['migrations.DeleteModel("ImageRejection")'], ["drop"]),
        (['migrations.RenameField("study", "accession_number", "accession")'], ["rename"]),
        (['migrations.RenameModel("ImageRejection", "Rejection")'], ["rename"]),
        (['migrations.AlterField("study", "accession_number", models.CharField(max_length=2))'], ["type"]),
        (['migrations.AlterField("instance", "rows", models.PositiveIntegerField())'], ["set-not-null"]),
        (['migrations.AddIndex("study", models.Index(fields=["status"], name="by_status"))'], ["index"]),
        (
            ['migrations.AddConstraint("study", models.UniqueConstraint(fields=["status"], name="one_status"))'],
            ["index"],
        ),
        ([f'migrations.AddConstraint("study", {CHECK})'], ["constraint"]),
        (['migrations.RunSQL("create index on studies_study (status)")'], ["index"]),
        (['migrations.RunSQL("alter table studies_study add column x int not null")'], ["not-null"]),
        (['migrations.RunSQL(["alter table studies_study\\n drop column status"])'], ["drop"]),
        (['migrations.RunSQL("alter table studies_study rename column status to state")'], ["rename"]),
        (['migrations.RunSQL("alter table studies_study alter status set not null")'], ["set-not-null"]),
        ([ADD.format("null=True"), "migrations.RunPython(migrations.RunPython.noop)"], ["mixed"]),
    ],
)
def test_a_migration_that_the_former_version_cannot_live_with_is_found(
    add_migration: Callable[..., str], operations: list[str], rules: list[str]
) -> None:
    add_migration(*operations)
    assert rules_broken() == rules


@pytest.mark.parametrize(
    "operations",
    [
        [ADD.format("null=True")],
        [ADD.format('db_default=""')],
        [INDEX],
        [f'postgres.AddConstraintNotValid("study", {CHECK})'],
        ['migrations.RunSQL("create index concurrently on studies_study (status)")'],
        ["migrations.RunPython(migrations.RunPython.noop)"],
        [
            f'migrations.CreateModel("Note", [("id", {ID}), ("text", models.TextField())])',
            'migrations.AddField("note", "number", models.IntegerField(unique=True))',
            'migrations.AddIndex("note", models.Index(fields=["text"], name="by_text"))',
        ],
        [
            'migrations.SeparateDatabaseAndState([], [migrations.RemoveField("study", "accession_number")])',
        ],
    ],
)
def test_a_migration_that_expands_is_let_through(add_migration: Callable[..., str], operations: list[str]) -> None:
    add_migration(*operations)
    assert rules_broken() == []


def test_a_migration_may_say_why_a_rule_does_not_hold_for_it(add_migration: Callable[..., str]) -> None:
    drop = 'migrations.RemoveField("study", "accession_number")'
    add_migration(drop, attributes='lint_allows = {"drop": "0.1.0 was the last version that used it"}')
    assert rules_broken() == []


def test_the_migrations_of_this_project_pass() -> None:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    assert migration_lint.find_problems(loader, migration_lint.read_released()) == []


def test_former_migrations_show_that_every_kind_of_table_is_examined() -> None:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    found = {str(problem).split(":", 1)[0] for problem in migration_lint.find_problems(loader, frozenset())}
    assert {"inference.0003_fair_queue", "registry.0005_pins", "studies.0006_patient_is_an_identity"} <= found


def test_a_migration_gives_up_before_those_who_wait_behind_it() -> None:
    seconds = {role: int(limits["lock_timeout"].removesuffix("s")) for role, limits in LIMITS.items()}
    assert all(seconds[OWNER] < seconds[role] for role in LIMITS if role != OWNER)


def test_a_migration_that_gets_no_lock_says_what_to_do(
    db: None, add_migration: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    former = add_migration(ADD.format("null=True"))
    monkeypatch.setattr(migrate.Command, "attempts", 2)
    monkeypatch.setattr(migrate.Command, "pause_seconds", 0)
    with connections["owner"].cursor() as cursor:
        cursor.execute("set lock_timeout to '200ms'")
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("lock table studies_study in access share mode")
            with pytest.raises(CommandError, match=r"studies\.9999_late could not lock its table in 2 attempts"):
                call_command("migrate", "studies", verbosity=0)
        assert "trying again" in capsys.readouterr().err
        call_command("migrate", "studies", verbosity=0)
    finally:
        call_command("migrate", "studies", former, verbosity=0)
        connections["owner"].close()
