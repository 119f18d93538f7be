"""Requeueing failed and rejected jobs: the command, and the console's action."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.core.retry import MAX_ATTEMPTS
from apps.core.work_queue import JobState
from apps.inference import retries, services
from apps.inference.models import InferenceJob
from apps.tenants.scope import tenant_tx
from tests.conftest import PASSWORD, Hospital


@pytest.fixture
def ended(starter: Any, north: Hospital, south: Hospital, store_film: Callable[..., Any]) -> None:
    """Two failed studies and a rejected one in the north, a failed one in the south."""
    for hospital, seed in ((north, 1), (north, 2), (north, 3), (south, 4)):
        store_film(hospital, seed=seed, size=128)
    for attempt in range(MAX_ATTEMPTS):
        InferenceJob.objects.using("dispatch").update(run_after=None)
        held = services.claim_jobs(limit=8, version=starter, worker="test")
        if attempt == 0:
            rejected = next(job for job in held if job.tenant_id == north.tenant.pk)
            with tenant_tx(north.tenant.pk):
                services.reject_job(job=rejected, code="not-chest", reason="No chest.", instances_seen=1)
        for job in held:
            retries.return_after_failure(job=job, code="inference-error")


def states(hospital: Hospital) -> list[str]:
    with tenant_tx(hospital.tenant.pk):
        return sorted(InferenceJob.objects.values_list("state", flat=True))


def run(*arguments: str) -> list[str]:
    out = StringIO()
    call_command("requeue_jobs", *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_failed_studies_are_queued_once_and_the_tenant_s_trail_says_so(
    ended: None, north: Hospital, south: Hospital
) -> None:
    expected = ["north  inference-error  2", "south  inference-error  1"]
    assert run("--dry-run") == [*expected, "3 studies would be queued."]
    assert states(south) == [JobState.FAILED]
    assert run() == [*expected, "3 studies queued."]
    assert run() == ["0 studies queued."]
    assert states(north) == [JobState.FAILED, JobState.FAILED, JobState.QUEUED, JobState.QUEUED, JobState.REJECTED]
    with tenant_tx(north.tenant.pk):
        event = AuditEvent.objects.get(action=AuditEvent.Action.STUDIES_REQUEUED)
        assert (event.amount, event.operation) == (2, "requeue_jobs")
        assert event.actor.startswith("cli:")


def test_it_takes_what_was_asked_for_and_no_more(ended: None, north: Hospital, south: Hospital) -> None:
    assert run("--reason", "worker-lost") == ["0 studies queued."]
    assert run("--since", "2100-01-01") == ["0 studies queued."]
    assert run("--state", "rejected", "--tenant", "south") == ["0 studies queued."]
    assert run("--state", "rejected", "--since", "2020-01-01T10:00") == ["north  not-chest  1", "1 studies queued."]
    assert run("--tenant", "south", "--reason", "inference-error")[-1] == "1 studies queued."
    assert states(south) == [JobState.FAILED, JobState.QUEUED]
    with pytest.raises(CommandError, match="no tenant nowhere"):
        run("--tenant", "nowhere")
    with pytest.raises(CommandError, match="not a time"):
        run("--since", "yesterday")


def test_an_operator_reads_jobs_again_and_says_why(ended: None, north: Hospital, south: Hospital) -> None:
    User.objects.create_superuser("operator@example.org", PASSWORD, full_name="Operator")
    browser = Client()
    assert browser.login(username="operator@example.org", password=PASSWORD)
    address = reverse("admin:inference_inferencejob_changelist")
    chosen = [str(each) for each in InferenceJob.objects.using("dispatch").values_list("pk", flat=True)]
    action = {"action": "read_again", ACTION_CHECKBOX_NAME: chosen}
    page = browser.post(address, action)
    assert "4 studies are read once more" in page.content.decode()
    assert JobState.QUEUED not in states(north)
    assert "This field is required" in browser.post(address, {**action, "reason": ""}).content.decode()
    done = browser.post(address, {**action, "reason": "The GPU was replaced."}, follow=True)
    assert "4 studies were queued" in done.content.decode()
    assert states(north).count(JobState.QUEUED) == 3
    assert states(south).count(JobState.QUEUED) == 1
    again = browser.post(address, {**action, "reason": "Once more."}, follow=True)
    assert "0 studies were queued" in again.content.decode()
    with tenant_tx(south.tenant.pk):
        assert AuditEvent.objects.get(action=AuditEvent.Action.STUDIES_REQUEUED).amount == 1
