"""Activation and rollback on the command line, with their ledger entries."""

import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, connections, transaction
from django.db.migrations.loader import MigrationLoader

from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.deployment.ledger.rollback import former_version
from apps.deployment.models import Activation, Deployment
from apps.deployment.selectors import deployments, require_platform_version, version_for
from apps.deployment.services import activate, retire, roll_back, unpin
from apps.registry.models import ModelVersion
from tests.conftest import STARTER
from tests.registry.versions import registered


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


def test_activation_and_rollback_are_entries_of_the_ledger(starter: Any, second: ModelVersion) -> None:
    assert "starter:2 is in service (before: starter:1)" in run("activate_model", "starter:2", reason="Better")
    assert require_platform_version() == second
    assert "starter:1 is in service" in run("activate_model", "--rollback", reason="Worse")
    assert require_platform_version() == starter
    back, there, _ = Activation.objects.all()
    assert (there.to_version, there.reason, there.thresholds) == (second, "Better", second.thresholds)
    assert (back.to_version, back.act, back.thresholds) == (starter, "rolled-back", starter.thresholds)
    assert [entry.number for entry in Activation.objects.all()] == [3, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["starter:9"], "Registered: starter:1"),
        (["starter"], "name:number"),
        (["starter:1"], "in service already"),
        (["--rollback"], "no earlier version"),
        ([], "either name:number or --rollback"),
        (["starter:1", "--rollback"], "either name:number or --rollback"),
        (["--unpin"], "the tenant to unpin"),
        (["starter:1", "--tenant", "nowhere"], "no tenant 'nowhere'. Known: north"),
        (["--unpin", "--tenant", "north"], "follows the platform already"),
        (["--rollback", "--tenant", "north"], "no earlier version"),
    ],
)
def test_impossible_changes_give_the_reason(north: Any, starter: Any, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run("activate_model", *arguments)
    assert require_platform_version() == starter


def test_the_same_artifact_is_the_same_version(starter: Any) -> None:
    assert "starter:1 was registered before from the same artifact" in run("register_model", str(STARTER))
    assert ModelVersion.objects.count() == 1


def test_pinning_to_the_platforms_version_reports_what_changes(north: Any, starter: Any) -> None:
    assert "stays in service for North Hospital; it is pinned from now on" in run(
        "activate_model", "starter:1", "--tenant", "north"
    )
    assert "it follows the platform again" in run("activate_model", "--unpin", "--tenant", "north")


def test_a_tenant_is_pinned_and_follows_again(north: Any, south: Any, starter: Any, second: ModelVersion) -> None:
    assert "for North Hospital (before: starter:1)" in run("activate_model", "starter:2", "--tenant", "north")
    assert deployments() == {None: starter.pk, north.tenant.pk: second.pk}
    assert (version_for(north.tenant.pk), version_for(south.tenant.pk)) == (second, starter)

    run("activate_model", "starter:1", "--tenant", "north")
    run("activate_model", "starter:2")
    assert (version_for(north.tenant.pk), version_for(south.tenant.pk)) == (starter, second)

    assert "starter:2 is in service for North" in run("activate_model", "--unpin", "--tenant", "north", reason="Done")
    assert deployments() == {None: second.pk}
    last = Activation.objects.first()
    assert last is not None
    assert (last.for_tenant, last.act, last.from_version, last.reason) == (north.tenant, "unpinned", starter, "Done")
    with pytest.raises(CommandError, match="follows the platform already"):
        run("activate_model", "--unpin", "--tenant", "north")


def test_a_rollback_changes_its_scope_only(north: Any, south: Any, starter: Any, second: ModelVersion) -> None:
    for tenant in ("north", "south"):
        run("activate_model", "starter:2", "--tenant", tenant)
    run("activate_model", "--rollback", "--tenant", "north")
    assert deployments() == {None: starter.pk, south.tenant.pk: second.pk}

    # The platform has another version by now. The tenant is pinned to the version that read for it before.
    run("activate_model", "starter:2")
    run("activate_model", "--rollback", "--tenant", "south")
    assert version_for(south.tenant.pk) == starter
    assert require_platform_version() == second


def test_each_rollback_takes_back_one_entry_and_never_restores_a_rolled_back_version(db: None) -> None:
    good, better, bad, other = (registered(number) for number in range(1, 5))
    for version in (good, better, bad):
        activate(version=version, by=Actor(name="test"))
    back = [roll_back(by=Actor(name="test")).to_version for _ in range(2)]
    assert back == [better, good]
    with pytest.raises(ConflictError, match="no earlier version"):
        roll_back(by=Actor(name="test"))
    activate(version=other, by=Actor(name="test"))
    assert roll_back(by=Actor(name="test")).to_version == good
    assert bad not in deployments().values()


def test_a_rollback_skips_retired_versions(db: None) -> None:
    good, poor, bad = (registered(number) for number in range(1, 4))
    for version in (good, poor, bad):
        activate(version=version, by=Actor(name="test"))
    retire(version=poor, by=Actor(name="test"))
    entry = roll_back(by=Actor(name="test"), reason="Worse.")
    assert (entry.from_version, entry.to_version) == (bad, good)
    with pytest.raises(ConflictError, match="no earlier version"):
        roll_back(by=Actor(name="test"))


def test_skipping_stops_at_the_version_in_service(db: None) -> None:
    good, poor = registered(1), registered(2)
    for version in (good, poor, good):
        activate(version=version, by=Actor(name="test"))
    retire(version=poor, by=Actor(name="test"))
    with pytest.raises(ConflictError, match="chest-net:2 is retired"):
        roll_back(by=Actor(name="test"))
    assert require_platform_version() == good


def test_the_migration_fills_what_earlier_rollbacks_took_back(north: Any) -> None:
    fill = import_module("apps.registry.migrations.0018_what_former_rollbacks_took_back").fill
    good, bad = registered(1), registered(2)
    there = [activate(version=version, by=Actor(name="test")) for version in (good, bad)][-1]
    old = Activation.objects.create(
        number=3, act="rolled-back", from_version=bad, to_version=good, thresholds={}, actor="test"
    )
    Deployment.objects.update(model_version=good)
    assert former_version(None, good.pk) == bad, "As of old."
    # As the migration found them: the ledger was registry's then.
    before = MigrationLoader(None).project_state([("registry", "0019_requests_that_replace")]).apps
    with connections["owner"].schema_editor() as editor:
        fill(before, editor)
    old.refresh_from_db()
    assert old.undoes == there
    assert former_version(None, good.pk) is None
    with pytest.raises(ConflictError, match="no earlier version"):
        roll_back(by=Actor(name="test"))


def test_a_rollback_keeps_a_pin_on_the_platforms_own_version(north: Any) -> None:
    first, second = registered(1), registered(2)
    activate(version=first, by=Actor(name="test"))
    activate(version=first, by=Actor(name="test"), tenant=north.tenant)
    activate(version=second, by=Actor(name="test"), tenant=north.tenant)
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert deployments() == {None: first.pk, north.tenant.pk: first.pk}
    unpin(by=Actor(name="test"), tenant=north.tenant)
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert deployments() == {None: first.pk, north.tenant.pk: first.pk}
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert deployments() == {None: first.pk}, "The pin itself is undone last."


def test_concurrent_activations_leave_a_complete_ledger(north: Any, starter: Any, second: ModelVersion) -> None:
    """Concurrent activations on real connections leave a ledger without gaps, whose last entry is in service."""
    tenants = [None, north.tenant]

    def activate_or_fail(step: int) -> str:
        try:
            version = (starter, second)[step % 2]
            activate(version=version, by=Actor(name=f"thread-{step}"), tenant=tenants[step // 2 % 2])
        except ConflictError as error:
            return error.detail
        finally:
            connection.close()
        return "activated"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(activate_or_fail, range(40)))
    entries = list(Activation.objects.all())
    assert [entry.number for entry in entries] == list(range(len(entries), 0, -1))
    assert len(entries) == 1 + results.count("activated") > 3
    assert all("in service already" in each or "same moment" in each for each in results if each != "activated")
    for tenant in tenants:
        own = [entry for entry in entries if entry.for_tenant == tenant]
        assert deployments()[tenant and tenant.pk] == own[0].to_version_id
        # A tenant that is pinned never follows the platform, so its entries form a chain, like the platform's.
        assert all(later.from_version == earlier.to_version for later, earlier in pairwise(own))


def test_the_ledger_is_written_once(starter: Any) -> None:
    for change in (lambda: Activation.objects.update(reason="edited"), lambda: Activation.objects.all().delete()):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            change()
