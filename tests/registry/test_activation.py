"""Moving the pointer from the command line: there, back, and into the ledger."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from apps.registry.models import Activation, ModelVersion
from apps.registry.selectors import version_in_service
from tests.conftest import STARTER


def run(*arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def second(starter: Any, tmp_path: Path) -> ModelVersion:
    folder = shutil.copytree(STARTER, tmp_path / "second", copy_function=shutil.copyfile)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"card": "', '"card": "Second. ', 1))
    assert "starter:2 is registered" in run("register_model", str(folder))
    return ModelVersion.objects.get(number=2)


def test_activation_and_rollback_are_lines_of_the_ledger(starter: Any, second: ModelVersion) -> None:
    assert "starter:2 is in service (before: starter:1)" in run("activate_model", "starter:2", reason="Better")
    assert version_in_service() == second
    assert "starter:1 is in service" in run("activate_model", "--rollback", reason="Worse")
    assert version_in_service() == starter
    back, there, _ = Activation.objects.all()
    assert (there.to_version, there.reason, there.thresholds) == (second, "Better", second.thresholds)
    assert (back.to_version, back.is_rollback, back.thresholds) == (starter, True, starter.thresholds)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["starter:9"], "Registered: starter:1"),
        (["starter"], "name:number"),
        (["starter:1"], "in service already"),
        (["--rollback"], "no earlier version"),
        ([], "either name:number or --rollback"),
    ],
)
def test_what_cannot_be_done_is_said(starter: Any, arguments: list[str], word: str) -> None:
    with pytest.raises(CommandError, match=word):
        run("activate_model", *arguments)
    assert version_in_service() == starter


def test_the_same_artifact_is_the_same_version(starter: Any) -> None:
    assert "starter:1 is registered" in run("register_model", str(STARTER))
    assert ModelVersion.objects.count() == 1


def test_the_ledger_is_written_once(starter: Any) -> None:
    for change in (lambda: Activation.objects.update(reason="edited"), lambda: Activation.objects.all().delete()):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            change()
