"""Quiet time: a study is read when no more of its images arrive, and then once."""

import datetime
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from apps.audit.services import user_actor
from apps.core.work_queue import JobState
from apps.inference import retries
from apps.inference.models import InferenceJob, Priority
from apps.inference.requests import request_inference
from apps.inference.selectors import waiting_jobs
from apps.routing import rule_services
from apps.routing.rule_selectors import intake_policy
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_membership
from tests.conftest import PROJECT_ROOT, Hospital
from tests.studies import objects

STUDY = "1.2.826.0.1.3680043.8.498.7"


def set_quiet_time(hospital: Hospital, seconds: int, longest_wait_minutes: int = 15) -> None:
    membership = find_membership(tenant_id=hospital.tenant.id, user_id=hospital.admin.pk)
    with tenant_tx(hospital.tenant.id):
        editor = rule_services.Editor(membership, user_actor(hospital.admin.pk), intake_policy().number)
        rule_services.set_quiet_time(seconds=seconds, longest_wait_minutes=longest_wait_minutes, editor=editor)


def job_of(hospital: Hospital) -> InferenceJob:
    with tenant_tx(hospital.tenant.id):
        return InferenceJob.objects.select_related("instance").latest("id")


def wait_of(job: InferenceJob) -> float:
    assert job.run_after is not None
    return (job.run_after - timezone.now()).total_seconds()


def let_time_pass(hospital: Hospital, **passed: float) -> None:
    by = datetime.timedelta(**passed)
    with tenant_tx(hospital.tenant.id):
        for job in InferenceJob.objects.filter(state=JobState.QUEUED, run_after__isnull=False):
            InferenceJob.objects.filter(pk=job.pk).update(created=job.created - by, run_after=job.run_after - by)


def test_several_images_are_read_once_when_the_study_is_quiet(
    starter: Any, north: Hospital, south: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    set_quiet_time(north, 600, longest_wait_minutes=30)
    send(north, objects.image(STUDY, 1, ViewPosition="AP"))
    assert 500 < wait_of(job_of(north)) <= 600
    let_time_pass(north, seconds=400)
    send(north, objects.image(STUDY, 2))
    assert 500 < wait_of(job_of(north)) <= 600, "Each image begins the quiet time anew."
    send(south, objects.image(STUDY, 1))
    assert read_studies() == 1, "Another hospital waits for nothing."
    assert job_of(north).state == JobState.QUEUED
    let_time_pass(north, seconds=1100)
    assert waiting_jobs() == 1, "The dispatcher finds a study whose quiet time has ended."
    send(north, objects.image(STUDY, 3, ViewPosition="AP"))
    assert 150 < wait_of(job_of(north)) <= 300, "The longest wait counts from the first image."
    let_time_pass(north, seconds=300)
    assert read_studies() == 1
    job = job_of(north)
    assert (job.state, job.instance.sop_instance_uid) == (JobState.COMPLETE, f"{STUDY}.1.2")

    send(north, objects.image(STUDY, 4))
    send(north, objects.image(STUDY, 5))
    assert 500 < wait_of(job_of(north)) <= 600, "Late images wait as well, and are read once."
    let_time_pass(north, seconds=601)
    assert read_studies() == 1
    assert job_of(north).instance.sop_instance_uid == f"{STUDY}.1.5"


def test_urgent_studies_do_not_wait(north: Hospital, send: Callable[..., Any]) -> None:
    set_quiet_time(north, 600)
    send(north, objects.image(f"{STUDY}.1", 1, RequestedProcedurePriority="STAT"))
    assert job_of(north).run_after is None
    send(north, objects.image(f"{STUDY}.2", 1, RequestedProcedurePriority="HIGH"))
    high = job_of(north)
    assert (high.priority, wait_of(high) > 500) == (Priority.HIGH, True)
    send(north, objects.image(f"{STUDY}.2", 2, RequestedProcedurePriority="STAT"))
    assert job_of(north).run_after is None
    send(north, objects.image(f"{STUDY}.3", 1))
    with tenant_tx(north.tenant.id):
        request_inference(study_id=job_of_study(f"{STUDY}.3").study_id, priority=Priority.STAT)
        assert job_of_study(f"{STUDY}.3").run_after is None, "A person's STAT ends the wait."


def job_of_study(study: str) -> InferenceJob:
    return InferenceJob.objects.get(study__study_instance_uid=study)


def test_a_worker_that_is_killed_leaves_the_study_to_another(
    starter: Any, north: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    set_quiet_time(north, 600)
    send(north, objects.image(STUDY, 1, ViewPosition="AP"))
    let_time_pass(north, seconds=601)
    claims_and_waits = (
        "from apps.core.process_names import name_of_this_process\n"
        "from apps.inference.services import claim_jobs\n"
        "from apps.registry.models import ModelVersion\n"
        "jobs = claim_jobs(limit=8, version=ModelVersion.objects.get(), worker=name_of_this_process())\n"
        "print(len(jobs), flush=True)\n"
        "input()"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "manage.py", "shell", "-v", "0", "-c", claims_and_waits],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT,
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        assert worker.stdout.readline() == "1\n"
        send(north, objects.image(STUDY, 2))
        worker.kill()
    assert retries.free_ended_workers() == 1
    assert read_studies() == 1, "The wait was over, so the study is read at once, with the image that came meanwhile."
    job = job_of(north)
    assert (job.state, job.instance.sop_instance_uid) == (JobState.COMPLETE, f"{STUDY}.1.2")


def test_an_outage_does_not_end_the_wait(north: Hospital, send: Callable[..., Any]) -> None:
    set_quiet_time(north, 600)
    send(north, objects.image(STUDY, 1))
    retries.note_outage("no-worker")
    retries.end_outage("no-worker")
    assert wait_of(job_of(north)) > 500
    let_time_pass(north, seconds=601)
    retries.note_outage("no-worker")
    assert job_of(north).reason_code == "no-worker"


def test_a_change_of_the_quiet_time_holds_from_the_next_image(north: Hospital, send: Callable[..., Any]) -> None:
    set_quiet_time(north, 600)
    send(north, objects.image(STUDY, 1))
    set_quiet_time(north, 0)
    send(north, objects.image(STUDY, 2))
    assert wait_of(job_of(north)) <= 0
    send(north, objects.image(f"{STUDY}.1", 1))
    assert job_of(north).run_after is None
