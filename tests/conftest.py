"""Real servers for every test that uses ``db``; two hospitals with people; synthetic films."""

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from django.core.management import call_command
from django.db import connections
from django.test import Client

from config.embedded import running_services
from config.embedded.postgres import DATABASE, admin_dsn
from tests import prepared
from tests.plugin import HOME

PROJECT_ROOT = Path(__file__).resolve().parent.parent
TEST_DATA = Path(os.environ.get("CHECXRAY_TEST_DATA") or PROJECT_ROOT.parent / "shared" / "data")
STARTER = PROJECT_ROOT / "models" / "starter"
PASSWORD = "correct horse battery staple"
_superuser: Any = None
PEER = "MODALITY"
"""The calling AE title that may send to every hospital of the tests, from 127.0.0.1."""


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real and hostile films."""
    if not TEST_DATA.is_dir():
        pytest.skip("The test data is absent: set CHECXRAY_TEST_DATA to its folder.")
    return TEST_DATA


@pytest.fixture(scope="session")
def servers(django_db_blocker: Any) -> Iterator[None]:
    """The embedded PostgreSQL (migrated) and Valkey of this test process."""
    is_migrated = prepared.take_database()
    with running_services(), django_db_blocker.unblock():
        if not is_migrated:
            call_command("migrate", verbosity=0)
            prepared.keep_database()
        yield
        for connection in connections.all():
            connection.close()
        if _superuser is not None:
            _superuser.close()


@pytest.fixture
def db(servers: None, django_db_blocker: Any) -> Iterator[None]:
    """A database that is empty, and whose transactions really commit, under the real roles."""
    with django_db_blocker.unblock():
        yield
        empty_database()
        empty_counts()
        remove_partial_uploads()


def remove_partial_uploads() -> None:
    """Uploads in pieces stay for a day; the hospital that they belong to is gone."""
    from django.conf import settings

    from apps.studies.spool import PARTIAL_UPLOADS

    shutil.rmtree(settings.SPOOL_DIR / PARTIAL_UPLOADS, ignore_errors=True)


def empty_counts() -> None:
    """Reset the rate limits, because all tests use one address."""
    from config.embedded import valkey

    client = valkey.client()
    for key in client.scan_iter("checxray:limit:*"):
        client.delete(key)
    client.close()


def empty_database() -> None:
    """Delete every row, as a superuser without triggers and foreign keys: 2 ms, where truncating takes 100."""
    global _superuser
    for is_last in (False, True):
        try:
            if _superuser is None or _superuser.closed:
                _superuser = psycopg2.connect(**admin_dsn(DATABASE))
                _superuser.autocommit = True
            with _superuser.cursor() as cursor:
                cursor.execute(_delete_all())
        except psycopg2.Error:
            # The server was restarted, or a process that still runs was writing and PostgreSQL ended one of the two.
            _superuser = None
            if is_last:
                raise
        else:
            return


@functools.cache
def _delete_all() -> str:
    kept = {"django_migrations", "django_content_type", "auth_permission"}
    tables = [name for name in connections["owner"].introspection.table_names() if name not in kept]
    return "set session_replication_role = replica;" + "".join(f"delete from {table};" for table in tables)


@dataclass
class Hospital:
    """A tenant with its people, its machine, and one DICOM peer on this machine (``PEER``)."""

    tenant: Any
    radiologist: Any
    admin: Any
    technologist: Any
    api_key: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api_key}"}


def make_hospital(slug: str) -> Hospital:
    from apps.accounts.models import User
    from apps.routing.models import Peer
    from apps.tenants.models import Role, Tenant
    from apps.tenants.scope import tenant_tx
    from apps.tenants.services import add_member, create_api_key

    tenant = Tenant.objects.create(slug=slug, name=f"{slug.title()} Hospital", ae_title=slug.upper())
    people = {}
    for role in Role.values:
        people[role] = User.objects.create_user(f"{role}@{slug}.example", PASSWORD, full_name=f"{role} of {slug}")
        add_member(tenant=tenant, user_id=people[role].pk, role=role)
    with tenant_tx(tenant.id):
        _, key = create_api_key(name="pacs")
        Peer(ae_title=PEER, network="127.0.0.1/32").save()
    return Hospital(tenant=tenant, api_key=key, **people)


@pytest.fixture
def north(db: None) -> Hospital:
    return make_hospital("north")


@pytest.fixture
def south(db: None) -> Hospital:
    return make_hospital("south")


@pytest.fixture
def sign_in() -> Callable[[Hospital, Any], Client]:
    """A browser in which a person has signed in to their hospital."""

    def signed_in(hospital: Hospital, user: Any) -> Client:
        client = Client()
        client.force_login(user)
        enter(client, hospital, user)
        return client

    return signed_in


def enter(client: Client, hospital: Hospital, user: Any) -> None:
    """Put the hospital in force in a browser's session, as choosing it after signing in does."""
    from apps.tenants.services import find_membership
    from apps.tenants.sessions import MEMBERSHIP_KEY, SESSION_KEY

    membership = find_membership(tenant_id=hospital.tenant.id, user_id=user.pk)
    session = client.session
    session[SESSION_KEY] = str(hospital.tenant.id)
    session[MEMBERSHIP_KEY] = str(membership.pk) if membership else ""
    session.save()


@pytest.fixture
def starter(db: None) -> Any:
    """The shipped model version, registered and in service."""
    from apps.audit.services import Actor
    from apps.deployment.services import activate
    from apps.registry.services import register

    prepared.take_graphs(HOME)
    version = register(artifact_dir=STARTER)
    activate(version=version, by=Actor(name="test"))
    return version


@pytest.fixture
def make_film(tmp_path: Path) -> Callable[..., Path]:
    """Write a synthetic chest film as DICOM; keyword arguments go to ``ml.phantom``'s writer."""
    from ml.phantom import write_dicom
    from tests.synthetic import synthetic_image

    def made(seed: int = 1, size: int = 512, findings: tuple[str, ...] = (), **attributes: Any) -> Path:
        path = tmp_path / f"film-{seed}-{len(list(tmp_path.iterdir()))}.dcm"
        write_dicom(synthetic_image(seed, size, tuple(findings)), path, **attributes)
        return path

    return made


@pytest.fixture
def store_film(make_film: Callable[..., Path]) -> Callable[..., Any]:
    """Store a synthetic film for a hospital, as STOW or an upload does; return its instance and study."""
    from apps.audit.services import Actor
    from apps.ingest.intake import ingest_instance, inspect_file
    from apps.studies.models import Instance
    from apps.studies.spool import open_spool
    from apps.tenants.scope import tenant_tx

    def stored(hospital: Hospital, **film: Any) -> Any:
        with open_spool() as spool:
            inspected = inspect_file(spool.write(make_film(**film).read_bytes()))
            taken = ingest_instance(inspected, tenant_id=hospital.tenant.id, by=Actor(name="test"), source="test")
        with tenant_tx(hospital.tenant.id):
            instances = Instance.objects.select_related("series__study")
            instance = instances.get(sop_instance_uid=inspected.found.sop_instance_uid)
        return SimpleNamespace(instance=instance, study=instance.series.study, is_new=taken.is_new)

    return stored


@pytest.fixture
def send(db: None) -> Callable[..., Any]:
    """Ingest the bytes of an object for a hospital; return whether it is new, and its study."""
    from apps.audit.services import Actor
    from apps.ingest.intake import ingest_instance, inspect_file
    from apps.studies.spool import open_spool

    def sent(hospital: Hospital, data: bytes) -> Any:
        with open_spool() as spool:
            inspected = inspect_file(spool.write(data))
            return ingest_instance(inspected, tenant_id=hospital.tenant.id, by=Actor(name="test"), source="test")

    return sent


@pytest.fixture
def read_studies(starter: Any) -> Iterator[Callable[[], int]]:
    """Run the real inference worker's loop in this process until no job waits; return how many jobs ended."""
    from workers.inference_worker import InferenceWorker

    with InferenceWorker(device="cpu") as worker:
        yield worker.run
