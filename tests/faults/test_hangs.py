"""A database and a broker that hang: they accept connections and do not answer."""

import logging
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest
from django.db import OperationalError, close_old_connections, connections

from apps.core import deadlines, wake_up
from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob
from apps.tenants.roles import LIMITS
from apps.tenants.scope import tenant_tx
from config import databases
from config.embedded import postgres, valkey
from tests.conftest import Hospital
from tests.dicomweb.web import MULTIPART, multipart
from tests.faults.servers import hanging
from workers.inference_worker import InferenceWorker

logger = logging.getLogger(__name__)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, db: None) -> Iterator[None]:
    """The deadlines of this side, shortened."""
    monkeypatch.setattr(deadlines, "CONNECT_SECONDS", 0.5)
    for connection in connections.all():
        connection.close()
        monkeypatch.setitem(
            connection.settings_dict["OPTIONS"], "connection_factory", deadlines.connection_factory(1.0)
        )
    yield
    for connection in connections.all():
        connection.close()


@pytest.mark.parametrize("when", ["while connections are open", "while none is"])
def test_a_database_that_hangs_costs_a_request_its_deadline_and_not_for_ever(
    north: Hospital, impatient: None, sign_in: Callable[..., Any], client: Any, when: str
) -> None:
    browser = sign_in(north, north.radiologist)
    assert browser.get("/").status_code == HTTPStatus.OK
    if when == "while none is":
        for connection in connections.all():
            connection.close()
    with hanging(postgres.postmaster()):
        for asked in (lambda: browser.get("/"), lambda: client.get("/api/v1/studies/", headers=north.bearer)):
            # As the handler of each request does; Django's test client leaves it out.
            close_old_connections()
            began = time.monotonic()
            answer = asked()
            assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
            assert answer["Retry-After"]
            assert time.monotonic() - began < 5
    close_old_connections()
    assert browser.get("/").status_code == HTTPStatus.OK, "It recovers without a restart."


def test_the_server_has_limits_for_each_role(db: None) -> None:
    for alias, role in databases.ALIASES.items():
        with connections[alias].cursor() as cursor:
            for setting, value in LIMITS[role].items():
                cursor.execute("select current_setting(%s)::interval = %s::interval", [setting, value])
                assert cursor.fetchone() == (True,), (alias, setting)


def test_a_login_that_assumes_its_role_has_the_limits_of_the_role(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role's own settings hold where the role logs in; a login that assumes it has them set for its session."""
    connection = connections["auth"]
    connection.close()
    admin = postgres.admin_dsn()
    for name, value in {"USER": admin["user"], "PASSWORD": admin["password"]}.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "assume_role", "chx_auth")
    try:
        with connection.cursor() as cursor:
            cursor.execute("select current_user, current_setting('statement_timeout')")
            assert cursor.fetchone() == ("chx_auth", "10s")
    finally:
        connection.close()


def test_a_statement_that_takes_too_long_closes_the_connection_and_the_next_one_works(impatient: None) -> None:
    with pytest.raises(OperationalError, match="did not answer within 1 s"), connections["auth"].cursor() as cursor:
        cursor.execute("select pg_sleep(20)")
    connections["auth"].close_if_unusable_or_obsolete()
    with connections["auth"].cursor() as cursor:
        cursor.execute("select 1")


def test_a_broker_that_hangs_delays_an_upload_a_moment_and_its_reading_not_at_all(
    starter: Any, north: Hospital, make_film: Callable[..., Any], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake_up, "_away_until", 0.0)
    films = [make_film(seed=seed, size=256) for seed in range(4)]
    with InferenceWorker(device="cpu") as worker, hanging(valkey.process()):
        for film in films:
            began = time.monotonic()
            answer = client.post(
                "/dicom-web/studies", multipart([film.read_bytes()]), content_type=MULTIPART, headers=north.bearer
            )
            assert answer.status_code == HTTPStatus.OK
            seconds = time.monotonic() - began
            logger.info("Upload beside a hanging broker: %.2f s", seconds)
            assert seconds < 5
        assert worker.run() == 4
    with tenant_tx(north.tenant.id):
        assert set(InferenceJob.objects.values_list("state", flat=True)) == {JobState.COMPLETE}
    monkeypatch.setattr(wake_up, "_away_until", 0.0)
    assert wake_up.wake_now(wake_up.WakeUp.INFER), "It recovers without a restart."
