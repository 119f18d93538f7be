"""The jobs worker computes a preview that an operator requested; the activation refers to it."""

import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.core.work_queue import JobState
from apps.deployment.models import Activation, PreviewJob, SwitchPreview
from apps.deployment.points import PointChoice
from apps.deployment.selectors import version_for
from apps.deployment.services import request_preview, set_points
from apps.registry.models import ModelVersion
from apps.registry.services import register
from apps.tenants.scope import tenant_tx
from apps.trials.recent import recent_readings
from tests.conftest import PASSWORD, Hospital
from tests.dicomweb.web import free_port
from tests.flows.processes import running, start, wait_for
from tests.ml import tiny
from tests.results import read, version
from workers.previewing import preview_waiting

__all__ = ["read", "version"]
FILMS = 21


@pytest.fixture
def candidate(version: ModelVersion, tmp_path: Path) -> ModelVersion:
    return register(artifact_dir=tiny.artifact(tmp_path / "tiny"))


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    return client


def job() -> PreviewJob:
    found = PreviewJob.objects.first()
    assert found is not None
    return found


def work() -> None:
    preview_waiting(worker="test", stopping=threading.Event())


def test_what_an_operator_asked_for_is_shown_and_carries_the_switch(
    operator: Client, north: Hospital, version: ModelVersion, candidate: ModelVersion, store_film: Any, read: Any
) -> None:
    for seed in range(FILMS):
        film = store_film(north, seed=seed, size=256, patient_name="CANARY^JANE", patient_id=f"CANARY-{seed}")
        read(film.instance, Mass=0.04 * (seed + 1))
    with tenant_tx(north.tenant.pk):
        recent = {"Mass": [each.probabilities["Mass"] for each in recent_readings(version=version, last=FILMS)]}
    share = {"Mass": PointChoice("alert_rate", 0.3)}
    set_points(tenant=north.tenant, version=version, choices=share, recent=recent, by=Actor(name="test"))
    page = reverse("admin:registry_modelversion_activate", args=[candidate.pk])
    ask = reverse("admin:registry_modelversion_preview", args=[candidate.pk])
    live = reverse("admin:registry_modelversion_previews", args=[candidate.pk])
    assert operator.post(page, {"keeps_points": "on", "reason": "Better."}).status_code == 200
    assert operator.post(ask, {"tenant": north.tenant.pk, "last": "200"}).status_code == 302
    assert b"Waits for the jobs worker" in operator.get(page).content
    assert b'data-open="true"' in operator.get(live).content

    work()
    ended = job()
    assert (ended.state, ended.done, ended.of) == (JobState.COMPLETE, FILMS, FILMS)
    kept = SwitchPreview.objects.get()
    assert (ended.preview, kept.studies, kept.actor) == (kept, FILMS, ended.actor)
    assert "CANARY" not in kept.report_json + ended.reason
    shown = operator.get(live).content.decode()
    assert 'data-open="false"' in shown
    assert f"North Hospital: from chest-net:3, {FILMS} studies" in shown

    assert operator.post(page, {"keeps_points": "on", "reason": "Better."}).status_code == 302
    line = Activation.objects.first()
    assert line is not None
    assert (line.to_version, line.previews) == (candidate, {str(kept.for_tenant_id): kept.sha256})


@pytest.mark.long
def test_a_killed_worker_takes_its_child_along_and_another_one_begins_again(
    north: Hospital, candidate: ModelVersion, store_film: Any, read: Any, tmp_path: Path
) -> None:
    read(store_film(north, size=256).instance, Mass=0.9)
    request_preview(tenant=north.tenant, version=candidate, last=5, by=Actor(name="test"))
    quick = {"JOB_LEASE_SECONDS": "3"}
    worker = start("jobs", tmp_path / "log", **quick)
    with running("dispatcher", tmp_path / "dispatcher.log", **quick):
        children: list[psutil.Process] = []

        def child_runs() -> bool:
            found = psutil.Process(worker.pid).children()
            children[:] = [each for each in found if "preview_job" in each.cmdline()]
            return bool(children) and job().state == JobState.RUNNING

        wait_for(child_runs, 60, "A first claim")
        worker.kill()
        worker.wait()
        (child,) = children
        # One that is still starting looks at its standard input a little later.
        wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 15, "The child's end")
        assert not SwitchPreview.objects.exists()
        with running("jobs", tmp_path / "log", **quick):
            wait_for(lambda: job().state == JobState.COMPLETE, 60, "The second attempt's counts")
    assert job().attempts == 2
    assert SwitchPreview.objects.count() == 1


def test_a_child_that_is_killed_leaves_its_reason(
    north: Hospital, candidate: ModelVersion, store_film: Any, read: Any
) -> None:
    read(store_film(north, size=256).instance, Mass=0.9)
    request_preview(tenant=north.tenant, version=candidate, last=5, by=Actor(name="test"))

    def kill() -> None:
        def children() -> list[psutil.Process]:
            return [each for each in psutil.Process().children() if "preview_job" in each.cmdline()]

        wait_for(children, 20, "A child")
        children()[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    work()
    killer.join()
    assert (job().state, job().attempts) == (JobState.QUEUED, 1)
    assert "ended with status -9" in job().reason


def test_what_cannot_be_previewed_is_refused_and_what_may_change_is_tried_again(
    operator: Client, north: Hospital, candidate: ModelVersion, store_film: Any, read: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    page = reverse("admin:registry_modelversion_activate", args=[candidate.pk])
    request_preview(tenant=north.tenant, version=candidate, last=5, by=Actor(name="test"))
    work()
    assert (job().state, job().attempts) == (JobState.REJECTED, 1)
    assert "Rejected: chest-net:3 has read no study of North Hospital yet" in operator.get(page).content.decode()

    read(store_film(north, size=256).instance, Mass=0.9)
    # The child that makes the preview finds a storage that does not answer: that is an outage, and spends no attempt.
    with monkeypatch.context() as environment:
        environment.setenv("S3_BUCKET", "films")
        environment.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        request_preview(tenant=north.tenant, version=candidate, last=5, by=Actor(name="test"))
        work()
    assert (job().state, job().attempts) == (JobState.QUEUED, 0)
    monkeypatch.setenv("DATABASE_URL", "no-address")
    for attempt in (1, 2, 3):
        PreviewJob.objects.update(run_after=job().created)
        work()
        assert (job().state, job().attempts) == (JobState.QUEUED if attempt < 3 else JobState.FAILED, attempt)
        said = "Failed" if attempt == 3 else f"Attempt {attempt} failed"
        assert f"{said}: Its process ended with status 1" in operator.get(page).content.decode()
    # Somebody made one at the command line since.
    SwitchPreview.objects.create(
        for_tenant=north.tenant, from_version=version_for(north.tenant.pk), to_version=candidate, studies=1,
        report_json='{"labels": {}, "points": {}, "refused": 0}', sha256="0", actor="test",
    )  # fmt: skip
    assert "Failed: Its process" not in operator.get(page).content.decode()
