"""Set-up on PostgreSQL 15 with an administrator who is no superuser, as in ``docs/production.md``."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from config.embedded.postgres import _unprivileged
from tests import prepared
from tests.conftest import PROJECT_ROOT, STARTER

BIN = Path("/usr/lib/postgresql/15/bin")
PASSWORD = secrets.token_urlsafe(16)

# Migrated, and an image stored and found by its tenant alone.
STORED = """
import django; django.setup()
from pathlib import Path
from django.core.management import call_command
from django.db import connections
call_command("migrate", verbosity=0)
from apps.audit.services import Actor
from apps.ingest.intake import inspect_file, ingest_instance
from apps.reports.models import ReportDraft
from apps.studies.models import Instance, Study
from apps.studies.spool import open_spool
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from ml.phantom import generate, write_dicom
north = Tenant.objects.create(slug="north", name="North", ae_title="NORTH")
write_dicom(generate(1, size=256), Path("film.dcm"))
with open_spool() as spool:
    inspected = inspect_file(spool.write(Path("film.dcm").read_bytes()))
    ingest_instance(inspected, tenant_id=north.id, by=Actor(name="test"), source="test")
with tenant_tx(north.id):
    print("inside", Instance.objects.count())
print("outside", Study.objects.count(), Study.objects.using("owner").count())
for alias in ("default", "owner", "dispatch", "auth"):
    with connections[alias].cursor() as cursor:
        cursor.execute("select current_user, current_setting('server_version_num')::int / 10000")
        print(*cursor.fetchone())
"""
# And read by a worker with the shipped version, until its report.
READ = f"""
from apps.deployment.services import activate
from apps.registry.services import register
from workers.inference_worker import InferenceWorker
activate(version=register(artifact_dir=Path({str(STARTER)!r})), by=Actor(name="test"), reason="First version")
with InferenceWorker(device="cpu") as worker:
    print("read", worker.run())
with tenant_tx(north.id):
    print("drafts", ReportDraft.objects.count())
"""
STORED_SAYS = ["inside 1", "outside 0 0", "chx_app 15", "chx_owner 15", "chx_dispatch 15", "chx_auth 15"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The folder of the socket of a PostgreSQL 15 whose administrator may create roles and databases, no more."""
    if not (BIN / "initdb").exists():
        pytest.skip("PostgreSQL 15 is not installed: apt-get install postgresql-15")
    home = Path(tempfile.mkdtemp(prefix="pg15-"))
    data, log = home / "data", (home / "log").open("wb")
    command = [str(BIN / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    subprocess.run(_unprivileged(*command), check=True, capture_output=True, cwd=PROJECT_ROOT)
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={home}", "-c", "fsync=off"]
    process = subprocess.Popen(
        _unprivileged(str(BIN / "postgres"), "-D", str(data), *options), stdout=log, stderr=log, cwd=PROJECT_ROOT
    )
    try:
        superuser = _connect(str(home))
        superuser.autocommit = True
        with superuser.cursor() as cursor:
            cursor.execute(f"create role dba login createdb createrole password '{PASSWORD}'")
        superuser.close()
        # From here on everybody needs a password, and the superuser cannot come in at all.
        (data / "pg_hba.conf").write_text("local all postgres reject\nlocal all all scram-sha-256\n")
        process.send_signal(1)
        yield str(home)
    finally:
        process.terminate()
        process.wait(30)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


def _connect(host: str) -> "psycopg2.extensions.connection":
    deadline = time.monotonic() + 30
    while True:
        try:
            return psycopg2.connect(host=host, user="postgres", dbname="postgres")
        except psycopg2.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def url(host: str, login: str, database: str, password: str = PASSWORD) -> str:
    return f"postgresql://{login}:{password}@{host.replace('/', '%2F')}/{database}"


def run(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    prepared.take_graphs(folder)
    common = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT_ROOT),
        "CHECXRAY_HOME": str(folder),
        "DJANGO_SETTINGS_MODULE": "config.settings.embedded",
        "REDIS_URL": "redis://127.0.0.1:1",
        "SECRET_KEY": "x" * 50,
    }
    done = subprocess.run(
        [sys.executable, *arguments], env=common | environment, cwd=folder, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.long
def test_one_login(server: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": url(server, "dba", "one")}
    # Twice: an upgrade runs it again.
    for _ in range(2):
        run(environment, tmp_path, str(PROJECT_ROOT / "manage.py"), "setup_database")
    assert run(environment, tmp_path, "-c", STORED).splitlines()[-6:] == STORED_SAYS


def test_four_logins(server: str, tmp_path: Path) -> None:
    names = {"": "chx_app", "OWNER_": "chx_owner", "DISPATCH_": "chx_dispatch", "AUTH_": "chx_auth"}
    environment = {
        f"DATABASE_{prefix}URL": url(server, role, "four", secrets.token_urlsafe(16)) for prefix, role in names.items()
    }
    (tmp_path / "admin-url").write_text(url(server, "dba", "postgres"))
    run(
        environment, tmp_path, str(PROJECT_ROOT / "manage.py"), "setup_database", "--admin-url-file",
        str(tmp_path / "admin-url"),
    )  # fmt: skip
    said = run(environment, tmp_path, "-c", STORED + READ).splitlines()
    assert said[-8:] == [*STORED_SAYS, "read 1", "drafts 1"]
