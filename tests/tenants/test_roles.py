"""An external server: set up with one login or with four, and refused where row-level security would not apply."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connections
from django.db.backends.postgresql.base import DatabaseWrapper

from apps.tenants.checks import check_roles
from apps.tenants.management.commands import setup_database
from apps.tenants.roles import APP, AUTH, DISPATCH, OWNER
from config.databases import external
from config.embedded.postgres import DATABASE, admin_dsn
from tests.conftest import PROJECT_ROOT

PASSWORD = "s3cret"
LOGINS = {"byo_super": "superuser", "byo_bypass": "bypassrls", "byo_plain": ""}


@pytest.fixture(scope="session")
def logins(servers: None) -> Iterator[None]:
    superuser = psycopg2.connect(**admin_dsn())
    superuser.autocommit = True
    with superuser.cursor() as cursor:
        for name, power in LOGINS.items():
            cursor.execute(f"create role {name} login {power} password '{PASSWORD}'")
            cursor.execute(f"grant connect on database {DATABASE} to {name}")
    yield
    superuser.close()


def url(login: str, database: str = DATABASE) -> str:
    return f"postgresql://{login}:{PASSWORD}@/{database}?host={admin_dsn()['host']}"


def connection_as(login: str, alias: str = "default", **options: Any) -> DatabaseWrapper:
    entry = connections["default"].settings_dict | {"USER": login, "PASSWORD": PASSWORD, "OPTIONS": options}
    return DatabaseWrapper(entry, alias)


@pytest.mark.parametrize("alias", ["default", "dispatch", "auth"])
@pytest.mark.parametrize("login", ["byo_super", "byo_bypass"])
def test_a_login_past_row_level_security_is_refused(db: None, logins: None, login: str, alias: str) -> None:
    connection = connection_as(login, alias)

    for _ in range(2):
        with pytest.raises(ImproperlyConfigured, match="chx_app"):
            connection.ensure_connection()
        assert connection.connection is None


def test_a_superuser_that_assumes_the_role_is_under_it(north: Any, logins: None, store_film: Any) -> None:
    store_film(north, size=256)
    connection = connection_as("byo_super", assume_role=APP)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select current_user, count(*) from studies_study")
            assert cursor.fetchone() == (APP, 0)
    finally:
        connection.close()


def test_a_plain_role_passes(db: None) -> None:
    check_roles()


@pytest.fixture
def databases(db: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Show the command another DATABASES; the open connections stay as they are."""

    def described(entries: dict[str, Any]) -> None:
        monkeypatch.setattr(setup_database, "settings", SimpleNamespace(DATABASES=entries))

    return described


@pytest.fixture
def second_database() -> Iterator[str]:
    yield "byo"
    superuser = psycopg2.connect(**admin_dsn())
    superuser.autocommit = True
    with superuser.cursor() as cursor:
        cursor.execute("drop database if exists byo with (force)")
    superuser.close()


def with_host(entries: dict[str, Any]) -> dict[str, Any]:
    return {alias: entry | {"HOST": admin_dsn()["host"]} for alias, entry in entries.items()}


def test_one_login_prepares_a_database_and_again(
    logins: None, databases: Any, second_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    databases(with_host(external(f"postgresql://byo_super:{PASSWORD}@localhost/{second_database}")))

    for _ in range(2):
        call_command("setup_database")

    assert "assumed by byo_super" in capsys.readouterr().out
    owner = connection_as("byo_super", "owner", assume_role=OWNER)
    owner.settings_dict["NAME"] = second_database
    app = connection_as("byo_super", assume_role=APP)
    app.settings_dict["NAME"] = second_database
    try:
        with owner.cursor() as cursor:
            cursor.execute("create table made_by_owner (id int)")
        with app.cursor() as cursor:
            cursor.execute("select count(*) from made_by_owner")
            with pytest.raises(ProgrammingError):
                cursor.execute("create table made_by_app (id int)")
    finally:
        owner.close()
        app.close()


WHOLE_LIFE = """
import django; django.setup()
from django.core.management import call_command
call_command("setup_database", verbosity=0)
call_command("migrate", verbosity=0)
from apps.studies.models import Patient
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
north = Tenant.objects.create(slug="north", name="North", ae_title="NORTH")
with tenant_tx(north.id):
    Patient.objects.create(patient_id="CANARY")
    print("inside", Patient.objects.count())
print("outside", Patient.objects.count(), Patient.objects.using("owner").count())
"""


@pytest.mark.long
def test_a_superusers_login_alone_serves_under_row_level_security(
    logins: None, second_database: str, tmp_path: Path
) -> None:
    """DATABASE_URL and nothing else: set up, migrate, write, read."""
    host = admin_dsn()["host"].replace("/", "%2F")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT_ROOT),
        "CHECXRAY_HOME": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "config.settings.embedded",
        "DATABASE_URL": f"postgresql://byo_super:{PASSWORD}@{host}/{second_database}",
        "REDIS_URL": "redis://127.0.0.1:1",
        "SECRET_KEY": "x" * 50,
    }
    done = subprocess.run(
        [sys.executable, "-c", WHOLE_LIFE], env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["inside 1", "outside 0 0"]


def test_four_logins_get_their_passwords_from_an_administrator(
    logins: None, databases: Any, second_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The passwords of the running connections must survive this test: they are set to what they are.
    known = {role: connections[alias].settings_dict["PASSWORD"] for alias, role in aliases().items()}
    entries = {
        alias: connections[alias].settings_dict | {"NAME": second_database, "USER": role, "PASSWORD": known[role]}
        for alias, role in aliases().items()
    }
    databases(entries)
    admin_url = tmp_path / "admin-url"
    admin_url.write_text(url("byo_super", "postgres") + "\n")

    call_command("setup_database", admin_url_file=admin_url)

    assert "own passwords" in capsys.readouterr().out
    psycopg2.connect(
        host=admin_dsn()["host"], user=APP, password=known[APP], dbname=second_database, connect_timeout=5
    ).close()


def aliases() -> dict[str, str]:
    return {"default": APP, "owner": OWNER, "dispatch": DISPATCH, "auth": AUTH}


def test_the_applications_login_cannot_set_up(databases: Any) -> None:
    databases({alias: connections[alias].settings_dict for alias in aliases()})
    with pytest.raises(CommandError, match="--admin-url-file"):
        call_command("setup_database")


def test_half_of_the_logins_is_a_mistake(databases: Any) -> None:
    entries = with_host(external(f"postgresql://{APP}:{PASSWORD}@localhost/byo"))
    databases(entries)
    with pytest.raises(CommandError, match="DATABASE_OWNER_URL"):
        call_command("setup_database")


@pytest.mark.parametrize(
    ("login", "words"), [("byo_plain", "administrator's login"), ("nobody", "does not let nobody in")]
)
def test_a_login_that_may_not_is_named(logins: None, databases: Any, login: str, words: str) -> None:
    databases(with_host(external(f"postgresql://{login}:{PASSWORD}@localhost/byo")))
    with pytest.raises(CommandError, match=words) as refusal:
        call_command("setup_database")
    assert PASSWORD not in str(refusal.value)


@pytest.mark.parametrize("content", ["", "mysql://a:b@c/d", "postgresql://host/db", "host port"])
def test_a_useless_url_file_is_named(databases: Any, db: None, tmp_path: Path, content: str) -> None:
    path = tmp_path / "admin-url"
    path.write_text(content)
    with pytest.raises(CommandError, match="admin-url"):
        call_command("setup_database", admin_url_file=path)
