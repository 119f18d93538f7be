"""What the console's home page shows: what serves whom, the queue, the workers, and what needs attention.

It reads no patient data: counts, versions and names of tenants only.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import F
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince

from apps.core.work_queue import JobState
from apps.deployment.ledger.rollback import rollback_description
from apps.deployment.models import ActivationRequest, AiStop, Deployment
from apps.evaluation.models import EvaluationJob
from apps.events.models import WebhookDelivery
from apps.inference.drift import count_alarms
from apps.inference.models import Worker
from apps.inference.selectors import jobs_by_state, live_workers, oldest_outage, refusing_workers, waiting_since
from apps.tenants.models import Tenant
from apps.training.models import TrainingRun

RECENT = datetime.timedelta(days=7)
LONG_WAIT = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class Service:
    """What serves the platform, or a tenant that is pinned.

    Attributes:
        rollback: what a rollback brings back, in words; empty where there is nothing to roll back to.
    """

    deployment: Deployment
    rollback: str
    rollback_url: str


@dataclass(frozen=True)
class Concern:
    """One thing that needs an operator, and the page where it is seen to."""

    text: str
    url: str


@dataclass(frozen=True)
class Overview:
    services: list[Service]
    following: int
    queue: dict[str, int]
    waiting_since: datetime.datetime | None
    workers: list[Worker]
    concerns: list[Concern]


def overview() -> Overview:
    """Everything that the home page shows, read now."""
    services = [_service(each) for each in _deployments()]
    pinned = sum(each.deployment.for_tenant_id is not None for each in services)
    since = waiting_since()
    return Overview(
        services=services,
        following=Tenant.objects.filter(is_active=True).count() - pinned,
        queue=jobs_by_state(),
        waiting_since=since,
        workers=list(live_workers().select_related("model_version").order_by("name")),
        concerns=list(_concerns(services, since)),
    )


def _deployments() -> list[Deployment]:
    """The platform's first."""
    found = Deployment.objects.select_related("for_tenant", "model_version")
    return list(found.order_by(F("for_tenant__name").asc(nulls_first=True)))


def _service(deployment: Deployment) -> Service:
    tenant = deployment.for_tenant
    query = f"?tenant={tenant.slug}" if tenant else ""
    rollback = rollback_description(tenant.pk if tenant else None, deployment.model_version)
    return Service(deployment, rollback, reverse("admin:deployment_deployment_roll_back") + query)


def _concerns(services: list[Service], since: datetime.datetime | None) -> Iterator[Concern]:
    if not services:
        yield _concern("No version is in service: nothing is read. Activate one.", "registry_modelversion")
    yield from _waiting(since)
    requests = ActivationRequest.objects.filter(line=None, withdrawn=None, replaced_by__isnull=True).count()
    if requests:
        yield _concern(f"Activations that wait for a second operator: {requests}.", "deployment_activationrequest")
    stops = AiStop.objects.count()
    if stops:
        yield _concern(f"The AI, or a finding, is stopped: {stops}.", "deployment_aistop")
    alarms = count_alarms()
    if alarms:
        yield _concern(
            f"Hospitals whose last week was outside the control limits: {alarms}.", "deployment_driftweek", "?alarm=1"
        )
    yield from _failures()


def _waiting(since: datetime.datetime | None) -> Iterator[Concern]:
    if not live_workers().exists():
        yield _concern("No inference worker reports: start one, or look into its log.", "inference_worker")
    if refusing := refusing_workers():
        yield _concern(f"Workers that cannot load a version that they need: {refusing}.", "inference_worker")
    if outage := oldest_outage():
        yield _concern(
            f"Studies that wait for the end of an outage: {outage[1]}. {outage[0]}", "inference_inferencejob"
        )
    elif since is not None and since < timezone.now() - LONG_WAIT:
        yield _concern(
            f"A study has waited for {timesince(since)}: are there enough workers?",
            "inference_inferencejob",
            f"?state={JobState.QUEUED}",
        )


def _failures() -> Iterator[Concern]:
    """What failed within the last week and was not seen to."""
    since = timezone.now() - RECENT
    failed = {"state": JobState.FAILED}
    deliveries = WebhookDelivery.objects.filter(**failed, finished__gt=since).count()
    if deliveries:
        yield _concern(
            f"Messages that could not be delivered this week: {deliveries}.", "events_webhookdelivery", "?state=failed"
        )
    evaluations = EvaluationJob.objects.filter(**failed, finished__gt=since).count()
    if evaluations:
        yield _concern(f"Evaluations that failed this week: {evaluations}.", "evaluation_evaluationjob")
    runs = TrainingRun.objects.filter(state=TrainingRun.State.FAILED, created__gt=since).count()
    if runs:
        yield _concern(f"Trainings that failed this week: {runs}.", "training_trainingrun")


def _concern(text: str, table: str, query: str = "") -> Concern:
    return Concern(text, reverse(f"admin:{table}_changelist") + query)
