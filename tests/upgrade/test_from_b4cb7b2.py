"""A database and its objects as commit b4cb7b2 left them are brought to the newest state, and nothing is lost.

``b4cb7b2.tar.xz`` holds ``dump.sql`` (``pg_dump --inserts``) and the hospital's objects. That commit's own code made
them from synthetic images: two hospitals with people and keys, a webhook, two versions of ``chest-net`` that were
activated, rolled back and pinned, a training of two epochs, and two studies of two images each under shared PatientIDs.
The second study's report is signed.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from config.embedded import paths
from config.embedded.postgres import _binary, admin_dsn
from tests.conftest import PROJECT_ROOT

DATABASE = "upgraded"
ARCHIVE = Path(__file__).with_name("b4cb7b2.tar.xz")

LOOK = """
import django; django.setup()
import json
from django.contrib.contenttypes.models import ContentType
from apps.deployment.models import Activation, Deployment
from apps.audit.models import AuditEvent
from apps.events.models import ModelEvent, WebhookDelivery, WebhookEndpoint
from apps.events.services import DELIVERIES
from apps.registry.models import ModelVersion
from apps.reports.models import Report, ReportDraft
from apps.studies.models import Instance, Study, object_key
from apps.studies.selectors import in_conflict
from apps.studies.storage import matches_key
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from apps.training.models import TrainingRun
north = Tenant.objects.get(slug="north")
south = Tenant.objects.get(slug="south")
found = {}
found["ledger"] = list(Activation.objects.order_by("number").values_list("act", "reason"))
found["serving"] = {str(each.for_tenant): str(each.model_version) for each in Deployment.objects.all()}
found["events"] = sorted(set(ModelEvent.objects.values_list("type", flat=True)))
versions = set(ModelVersion.objects.values_list("pk", flat=True))
found["events_of_unknown"] = ModelEvent.objects.exclude(model_version_id__in=versions).count()
found["event_count"] = ModelEvent.objects.count()
found["webhooks"] = WebhookEndpoint.objects.count()
found["deliveries"] = list(WebhookDelivery.objects.values_list("state", "attempts", "fence"))
found["due"] = DELIVERIES.due().count()
run = TrainingRun.objects.get()
found["training"] = [run.state, str(run.model_version), run.epoch_rows.count()]
moved = ContentType.objects.filter(model__in=["activation", "trainingrun", "modelversion"])
found["content_types"] = sorted(f"{each.app_label}.{each.model}" for each in moved)
with tenant_tx(north.pk):
    found["studies"] = [
        [each.display_name, each.patient.patient_id, each.conflict]
        for each in Study.objects.annotate(conflict=in_conflict()).select_related("patient").order_by("received")
    ]
    found["whole"] = [matches_key(each.object_key) for each in Instance.objects.all()]
    report = Report.objects.get()
    is_whole = matches_key(object_key(north.pk, report.pdf_sha256))
    found["report"] = [report.status, report.impression, is_whole]
    found["printed"] = report.printed["name"] if report.printed else None
    found["drafts"] = ReportDraft.objects.count()
    found["audit"] = AuditEvent.objects.count() > 0
with tenant_tx(south.pk):
    found["other_hospital"] = Study.objects.count()
print("FOUND", json.dumps(found))
"""


@pytest.fixture
def old_home(servers: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a process on the old database and objects."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "home" / "objects").mkdir(parents=True)
    (tmp_path / "objects").rename(tmp_path / "home" / "objects" / "t")
    superuser = psycopg2.connect(**admin_dsn())
    superuser.autocommit = True
    with superuser.cursor() as cursor:
        cursor.execute(f"create database {DATABASE} owner chx_owner")
    known = paths.load_secrets()
    host = str(paths.socket_folder())
    subprocess.run(
        [
            _binary("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-h", host, "-U", "postgres", "-d", DATABASE,
            "-f", str(tmp_path / "dump.sql"),
        ],
        env=os.environ | {"PGPASSWORD": known.postgres}, check=True, capture_output=True,
    )  # fmt: skip

    def url(role: str, password: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}:{password}@{host.replace('/', '%2F')}/{database}"

    roles = {"": "chx_app", "OWNER_": "chx_owner", "DISPATCH_": "chx_dispatch", "AUTH_": "chx_auth"}
    (tmp_path / "admin-url").write_text(url("postgres", known.postgres, "postgres"))
    try:
        yield {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT_ROOT),
            "CHECXRAY_HOME": str(tmp_path / "home"),
            "DJANGO_SETTINGS_MODULE": "config.settings.embedded",
            "REDIS_URL": "redis://127.0.0.1:1",
            "SECRET_KEY": "x" * 50,
            **{f"DATABASE_{prefix}URL": url(role, getattr(known, role)) for prefix, role in roles.items()},
        }
    finally:
        with superuser.cursor() as cursor:
            cursor.execute(f"drop database {DATABASE} with (force)")
        superuser.close()


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_old_home_is_upgraded_and_nothing_is_lost(old_home: dict[str, str], tmp_path: Path) -> None:
    run(old_home, "manage.py", "setup_database", "--admin-url-file", str(tmp_path / "admin-url"))
    run(old_home, "manage.py", "migrate", "--verbosity", "0")
    # Twice: it goes on where it was, and changes nothing once all is filled.
    for _ in range(2):
        run(old_home, "manage.py", "fill_study_demographics")
    output = run(old_home, "-W", "ignore", "-c", LOOK)
    found = json.loads(output.split("FOUND", 1)[1])
    assert [act for act, _ in found["ledger"]] == ["activated", "activated", "rolled-back", "activated"]
    assert found["serving"] == {"None": "chest-net:1", "South Hospital": "chest-net:1"}
    assert found["events"] == ["model.activated", "model.registered", "model.rolled_back"]
    assert (found["events_of_unknown"], found["event_count"]) == (0, 7)
    assert found["webhooks"] == 1
    assert found["deliveries"] == [["queued", 0, 0]] * found["due"]
    assert found["due"] == 6, "Messages that the former release had not sent go on waiting."
    assert found["training"] == ["complete", "small:1", 2]
    assert found["content_types"] == ["deployment.activation", "registry.modelversion", "training.trainingrun"]
    # The images of each study name two persons: each study says what its read image says, and both wait for a person.
    assert [conflict for *_, conflict in found["studies"]] == [True, True]
    assert {name for name, *_ in found["studies"]} <= {"Doe, John", "Smith, Jane", "Known, Not", "Other, Not"}
    assert found["whole"] == [True] * 4
    assert found["report"] == ["final", "Signed before the upgrade.", True]
    assert found["printed"]
    assert found["drafts"] == 1
    assert found["audit"]
    assert found["other_hospital"] == 0
