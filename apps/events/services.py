"""Services of events: publish an event, manage webhook endpoints, and claim and finish deliveries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from apps.core.errors import ConflictError, InvalidInputError
from apps.core.outbound import check_url, describe_status
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.webhooks import PAUSES, secret_of
from apps.core.work_queue import OPEN_STATES, JobState, Queue
from apps.events.models import ModelEvent, WebhookDelivery, WebhookEndpoint
from apps.tenants.models import Tenant


class _Deliveries(Queue[WebhookDelivery]):
    def due(self) -> "QuerySet[WebhookDelivery]":
        """Due deliveries, one at a time for each endpoint, so that a slow receiver does not delay the others."""
        under_way = WebhookDelivery.objects.filter(endpoint=OuterRef("endpoint"), state=JobState.RUNNING)
        return super().due().filter(endpoint__is_enabled=True).exclude(Exists(under_way))

    def claim_one(self, *, worker: str) -> WebhookDelivery | None:
        """Claim the delivery that is due first, for one attempt; None where none is due."""
        with transaction.atomic():
            # The endpoint is locked too: two workers must not send to it at the same moment.
            delivery = self.due().select_for_update(skip_locked=True, of=("self", "endpoint")).first()
            # Checked again under the lock: another worker may have claimed a delivery to this endpoint just before.
            if delivery is None or not self.due().filter(pk=delivery.pk).exists():
                return None
            self.take([delivery], worker=worker)
        return delivery


# The lease is longer than any attempt takes.
DELIVERIES = _Deliveries(
    WebhookDelivery, WakeUp.DELIVER, related=("endpoint", "event"), lease=timedelta(minutes=2), pauses=PAUSES
)


def publish(
    *, kind: str, version_id: UUID, data: Mapping[str, Any], tenant: Tenant | None = None, entry_id: UUID | None = None
) -> ModelEvent:
    """Record an event of a model version in the transaction of the change, and queue its deliveries.

    Args:
        kind: one of `ModelEvent.Type`.
        data: of the message; ``scope`` is added, the tenant that it concerns.
        entry_id: of the ledger entry, where there is one.
    """
    scope = tenant.slug if tenant else "platform"
    event = ModelEvent.objects.create(
        type=kind,
        model_version_id=version_id,
        for_tenant=tenant,
        line_id=entry_id,
        data={"scope": scope, "line": None, **data},
    )
    subscribed = _subscribed(kind, tenant)
    WebhookDelivery.objects.bulk_create([WebhookDelivery(endpoint=each, event=event) for each in subscribed])
    if subscribed:
        wake_after_commit(WakeUp.DELIVER)
    return event


def has_own_endpoints(*, kind: str, tenant: Tenant) -> bool:
    """Whether an event of a tenant has an endpoint that is for this tenant alone."""
    return any(each.for_tenant_id is not None for each in _subscribed(kind, tenant))


def _subscribed(kind: str, tenant: Tenant | None) -> list[WebhookEndpoint]:
    """The endpoints that get an event. A result of a hospital never goes to an endpoint that serves several."""
    scope = Q(for_tenant=None)
    if tenant is not None:
        own = Q(for_tenant=tenant)
        scope = own if kind == ModelEvent.Type.CRITICAL else own | scope
    return [each for each in WebhookEndpoint.objects.filter(scope, is_enabled=True) if kind in each.types]


def create_endpoint(
    *, url: str, types: Sequence[str], description: str = "", for_tenant: Tenant | None = None
) -> tuple[WebhookEndpoint, str]:
    """Subscribe an endpoint to events, of one tenant or of all.

    Returns:
        The endpoint, and its secret, which is shown only this once.

    Raises:
        InvalidInputError: the address is not allowed, or there is no such event.
    """
    check_url(url)
    unknown = sorted(set(types) - set(ModelEvent.Type.values))
    if unknown or not types:
        raise InvalidInputError(f"Choose from {', '.join(ModelEvent.Type.values)}.")
    made = WebhookEndpoint.objects.create(
        url=url, types=sorted(set(types)), description=description, for_tenant=for_tenant
    )
    return made, secret_of(made.secret_names[0])


def renew_secret(*, endpoint: WebhookEndpoint) -> str:
    """Make a new secret, which is shown only this once. For a day, messages are signed with the former one as well."""
    endpoint.secret_number = F("secret_number") + 1
    endpoint.secret_made = timezone.now()
    endpoint.save(update_fields=["secret_number", "secret_made"])
    endpoint.refresh_from_db()
    return secret_of(endpoint.secret_names[0])


def ping(*, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Send a test message to an endpoint.

    Raises:
        ConflictError: the endpoint is disabled.
    """
    if not endpoint.is_enabled:
        raise ConflictError("This endpoint is disabled: enable it first.")
    with transaction.atomic():
        wake_after_commit(WakeUp.DELIVER)
        return WebhookDelivery.objects.create(endpoint=endpoint)


def replay(*, delivery: WebhookDelivery) -> None:
    """Send a message that was delivered or given up once more, with its old id.

    Raises:
        ConflictError: it is queued already, or its endpoint is disabled.
    """
    if not delivery.endpoint.is_enabled:
        raise ConflictError("Its endpoint is disabled: enable it first.")
    ended = WebhookDelivery.objects.filter(pk=delivery.pk).exclude(state__in=OPEN_STATES)
    with transaction.atomic():
        if not ended.update(state=JobState.QUEUED, attempts=0, run_after=Now(), finished=None):
            raise ConflictError("It is queued already.")
        wake_after_commit(WakeUp.DELIVER)


@dataclass(frozen=True)
class DeliveryOutcome:
    """The outcome of an attempt: the response's status, or the reason why there was none."""

    status: int | None
    reason: str = ""

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def finish_delivery(*, delivery: WebhookDelivery, outcome: DeliveryOutcome) -> None:
    """Record the outcome of an attempt: delivered, queued again, or given up."""
    answer: dict[str, Any] = {"response_status": outcome.status}
    reason = outcome.reason or describe_status(outcome.status or 0)
    if outcome.is_success:
        DELIVERIES.complete(job=delivery, **answer)
    elif outcome.status != HTTPStatus.GONE:
        DELIVERIES.fail(job=delivery, reason=reason, **answer)
    else:
        with transaction.atomic():
            if DELIVERIES.reject(job=delivery, reason=reason, **answer):
                WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).update(
                    is_enabled=False,
                    disabled_because=f"The receiver answered 410 Gone on {timezone.now():%Y-%m-%d %H:%M} UTC.",
                )
