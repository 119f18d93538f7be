"""Health and readiness answers, with each dependency broken in turn."""

import datetime
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import default_storage
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client

from apps.api import readiness
from apps.inference.retries import note_outage
from tests.conftest import PROJECT_ROOT


@pytest.fixture(autouse=True)
def _ask_again() -> Iterator[None]:
    readiness.reset_cache()
    yield
    readiness.reset_cache()


@pytest.fixture
def worker(version: Any) -> Any:
    from apps.inference.models import Worker

    return Worker.objects.create(name="gpu-1", model_version=version, last_seen=Now())


def test_life_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_ready_with_every_part(worker: Any) -> None:
    answer = Client().get("/readyz")

    assert answer.status_code == 200, answer.content
    assert {name: check["ok"] for name, check in answer.json()["checks"].items()} == {
        "database": True, "broker": True, "storage": True, "worker": True,
    }  # fmt: skip
    assert not default_storage.exists("health"), "Nothing is written."


def test_not_ready_without_a_worker_that_was_heard_of(worker: Any) -> None:
    worker.last_seen = Now() - datetime.timedelta(minutes=5)
    worker.save()

    answer = Client().get("/readyz")

    assert answer.status_code == 503
    assert "activate_model" in answer.json()["checks"]["worker"]["detail"]


def failing(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("part", "function", "error", "remedy"),
    [
        ("broker", "_eviction_policy", OSError("redis://:hunter2@broker"), "REDIS_URL"),
        ("storage", "_storage_problem", OSError("key AKIA"), "S3_"),
        ("database", "check_roles", OperationalError("password=hunter2"), "DATABASE_URL"),
        ("database", "check_roles", ImproperlyConfigured("works as postgres, a superuser"), "superuser"),
    ],
)
def test_a_broken_part_says_what_to_do_and_no_secret(
    worker: Any, monkeypatch: pytest.MonkeyPatch, part: str, function: str, error: Exception, remedy: str
) -> None:
    monkeypatch.setattr(readiness, function, failing(error))

    answer = Client().get("/readyz")

    assert answer.status_code == 503
    checks = answer.json()["checks"]
    failed = {name for name, check in checks.items() if not check["ok"]}
    assert failed == ({"database", "worker"} if part == "database" else {part})
    assert remedy in checks[part]["detail"]
    assert b"hunter2" not in answer.content
    assert b"AKIA" not in answer.content


def test_a_real_broker_that_is_away_is_noticed(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from celery import Celery

    monkeypatch.setattr(readiness, "broker", Celery("away", broker="redis://127.0.0.1:1/0"))

    assert Client().get("/readyz").json()["checks"]["broker"]["ok"] is False


@pytest.mark.parametrize("host", ["10.0.0.7:8000", "checxray.invalid", "a b"])
def test_probes_are_answered_whatever_host_they_are_asked_by(worker: Any, host: str) -> None:
    for path in ("/healthz", "/readyz"):
        answer = Client().get(path, headers={"host": host})
        assert answer.status_code == 200, answer.content
    assert Client().get("/sign-in/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("part", ["database", "broker"])
def test_a_server_that_hangs_is_named_within_two_seconds(worker: Any, part: str) -> None:
    from config.embedded import postgres, valkey

    server = postgres.postmaster() if part == "database" else valkey.process()
    assert server is not None
    frozen = [server, *server.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        for _ in range(2):
            readiness.reset_cache()
            started = time.monotonic()
            checks = Client().get("/readyz").json()["checks"]
            assert time.monotonic() - started < 2
            failed = {name for name, check in checks.items() if not check["ok"]}
            assert failed == ({"database", "worker"} if part == "database" else {"broker"})
    finally:
        for process in frozen:
            process.resume()
    deadline = time.monotonic() + 60
    while Client().get("/readyz").status_code != 200:
        readiness.reset_cache()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_broker_that_may_evict_is_a_warning(worker: Any) -> None:
    with readiness.broker.connection_for_write() as connection:
        client = connection.default_channel.client
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            answer = Client().get("/readyz")
        finally:
            client.config_set("maxmemory-policy", "noeviction")

    assert answer.status_code == 200
    (warning,) = answer.json()["warnings"]
    assert "allkeys-lru" in warning


def test_answers_are_kept_for_seconds(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Client().get("/readyz").status_code == 200
    monkeypatch.setattr(readiness, "_storage_problem", failing(OSError()))
    assert Client().get("/readyz").status_code == 200
    readiness.reset_cache()
    assert Client().get("/readyz").status_code == 503


def test_metrics_count_jobs_and_requests_without_names(north: Any, store_film: Any, worker: Any) -> None:
    store_film(north)
    Client().get("/api/v1/studies/1.2.3/", headers=north.bearer)

    text = Client().get("/metrics").content.decode()

    assert 'checxray_jobs{state="queued"} 1.0' in text
    assert "checxray_workers_serving 1.0" in text
    assert "checxray_database_up 1.0" in text
    assert 'view="api:study"' in text
    assert "1.2.3" not in text
    assert "north" not in text
    waiting = next(line for line in text.splitlines() if line.startswith("checxray_oldest_waiting_job_seconds "))
    assert 0.0 < float(waiting.split()[1]) < 60.0


def test_metrics_survive_a_dead_database(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.api import collector

    monkeypatch.setattr(collector, "jobs_by_state", failing(OperationalError("gone")))

    answer = Client().get("/metrics")

    assert answer.status_code == 200
    assert b"checxray_database_up 0.0" in answer.content
    assert b"checxray_http_requests_total" in answer.content


def test_metrics_of_several_processes_meet_in_files(db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    count = "from apps.core.metrics import WAKE_UPS_LOST; WAKE_UPS_LOST.inc()"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", count], cwd=PROJECT_ROOT, check=True, timeout=60)

    text = Client().get("/metrics").content.decode()

    assert "checxray_wake_ups_lost_total 2.0" in text
    assert "checxray_database_up 1.0" in text


def test_metrics_may_need_a_token(db: None, settings: Any) -> None:
    settings.METRICS_TOKEN = "s3cret"

    assert Client().get("/metrics").status_code == 401
    assert Client().get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert Client().get("/metrics", headers={"authorization": "Bearer s3cret"}).status_code == 200


def test_studies_that_wait_for_the_end_of_an_outage_are_a_warning(worker: Any, north: Any, store_film: Any) -> None:
    store_film(north, size=128)
    note_outage("storage-unavailable")

    answer = Client().get("/readyz")

    assert answer.status_code == 200
    (warning,) = answer.json()["warnings"]
    assert warning.startswith("Studies that wait for the end of an outage: 1. Waiting since")
