"""Events and their webhooks, delivered to a real receiver that checks signatures with the standard's library."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError
from apps.core.webhooks import PAUSES
from apps.core.work_queue import JobState
from apps.deployment.services import activate, retire, roll_back, unpin
from apps.events.models import ModelEvent, WebhookDelivery, WebhookEndpoint
from apps.events.services import DELIVERIES, create_endpoint, ping, renew_secret, replay
from apps.registry.services import register
from tests.conftest import PASSWORD, STARTER
from tests.core.receiving import Receiver, receiver
from tests.evaluation import synthetic
from tests.flows.processes import running, wait_for
from tests.registry.versions import registered
from workers.delivering import deliver_due

EVERYTHING = list(ModelEvent.Type.values)


@pytest.fixture
def there(db: None, settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOK_HTTP = True
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    with receiver() as started:
        yield started


@pytest.fixture
def endpoint(there: Receiver) -> tuple[WebhookEndpoint, str]:
    return create_endpoint(url=there.url, types=EVERYTHING, description="The registry's mirror")


def deliver() -> None:
    deliver_due(worker="test", stopping=threading.Event())


def make_due() -> None:
    WebhookDelivery.objects.update(run_after=timezone.now() - timedelta(seconds=1))


def types() -> list[str]:
    return list(ModelEvent.objects.order_by("id").values_list("type", flat=True))


def test_each_change_of_a_version_is_one_event_in_order(north: Any) -> None:
    first = register(artifact_dir=STARTER)
    assert register(artifact_dir=STARTER) == first
    second = registered(2)
    films = synthetic.a_set()
    activate(version=first, by=Actor(name="test"), reason="For DOE^JANE")
    synthetic.measured(first, films, 1.0)
    synthetic.measured(second, films, 0.5, noise=2)
    synthetic.measured(second, films, 0.5, noise=3)
    synthetic.measured(second, films, 1.2, noise=2)
    activate(version=second, by=Actor(name="test"), tenant=north.tenant)
    unpin(tenant=north.tenant, by=Actor(name="test"))
    activate(version=second, by=Actor(name="user:1"))
    roll_back(by=Actor(name="test"))
    retire(version=second, by=Actor(name="test"))
    assert types() == [
        "model.registered", "model.activated", "model.verified", "model.gate_failed", "model.verified",
        "model.activated", "model.unpinned", "model.activated", "model.rolled_back", "model.retired",
    ]  # fmt: skip
    pinned = ModelEvent.objects.filter(type="model.activated")[1]
    assert pinned.data == {
        "version": "chest-net:2",
        "sha256": second.sha256,
        "device_uid": second.device_uid,
        "scope": "north",
        "line": 2,
        "from_version": str(first),
        "change_plan": 1,
    }
    assert pinned.for_tenant == north.tenant
    refused = ModelEvent.objects.get(type="model.gate_failed")
    assert refused.data["gates"][0]["state"] == "failed"
    # Who and why stay in the ledger: a reason may hold anything.
    assert "JANE" not in json.dumps([event.data for event in ModelEvent.objects.all()])
    assert "user:1" not in json.dumps([event.data for event in ModelEvent.objects.all()])


def test_a_failed_activation_publishes_nothing(endpoint: Any) -> None:
    version = registered(1)
    activate(version=version, by=Actor(name="test"))
    with pytest.raises(ConflictError):
        activate(version=version, by=Actor(name="test"))
    assert types() == ["model.activated"]
    assert WebhookDelivery.objects.count() == 1


def test_events_are_written_once(db: None) -> None:
    activate(version=registered(1), by=Actor(name="test"))
    for change in (lambda: ModelEvent.objects.update(type="x"), lambda: ModelEvent.objects.all().delete()):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            change()


def test_an_endpoint_gets_signed_messages_of_its_types_only(
    there: Receiver, endpoint: tuple[WebhookEndpoint, str]
) -> None:
    other, _ = create_endpoint(url=there.url, types=["model.retired"])
    activate(version=registered(1), by=Actor(name="test"))
    assert DELIVERIES.due().exists()
    deliver()
    ((headers, body),) = there.got
    message = Webhook(endpoint[1]).verify(body, headers)
    event = ModelEvent.objects.get()
    assert (message["type"], message["data"]["version"]) == ("model.activated", "chest-net:1")
    assert headers["webhook-id"] == str(event.pk)
    assert headers["content-type"] == "application/json"
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.response_status, delivery.attempts) == (JobState.COMPLETE, 200, 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint[1]).verify(body.replace(b"chest-net:1", b"chest-net:2"), headers)
    assert not DELIVERIES.due().exists()
    assert not other.deliveries.exists()


def test_a_failure_is_tried_again_under_the_same_id(there: Receiver, endpoint: tuple[WebhookEndpoint, str]) -> None:
    there.answers = [500, 200]
    activate(version=registered(1), by=Actor(name="test"))
    deliver()
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.response_status, delivery.attempts) == (JobState.QUEUED, 500, 1)
    assert delivery.reason == "The receiver answered 500 Internal Server Error."
    assert timedelta(seconds=25) < delivery.run_after - timezone.now() < timedelta(seconds=34)
    deliver()
    assert len(there.got) == 1

    make_due()
    deliver()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (JobState.COMPLETE, 2)
    first, second = there.got
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]
    Webhook(endpoint[1]).verify(second[1], second[0])


def test_pauses_grow_to_a_day_and_end() -> None:
    assert len(PAUSES) == 9
    assert list(PAUSES) == sorted(PAUSES)
    assert (PAUSES[0], PAUSES[-1]) == (30, 86400)


def test_after_the_last_attempt_it_is_a_dead_letter_that_can_be_sent_again(there: Receiver, endpoint: Any) -> None:
    there.answers = [503] * 10
    activate(version=registered(1), by=Actor(name="test"))
    for _ in range(12):
        make_due()
        deliver()
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, len(there.got)) == (JobState.FAILED, 10)
    replay(delivery=delivery)
    with pytest.raises(ConflictError, match="queued already"):
        replay(delivery=delivery)
    deliver()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (JobState.COMPLETE, 1)
    assert len({headers["webhook-id"] for headers, _ in there.got}) == 1


def test_410_gone_disables_the_endpoint(there: Receiver, endpoint: tuple[WebhookEndpoint, str]) -> None:
    there.answers = [410]
    activate(version=registered(1), by=Actor(name="test"))
    deliver()
    endpoint[0].refresh_from_db()
    assert not endpoint[0].is_enabled
    assert endpoint[0].disabled_because.startswith("The receiver answered 410 Gone")
    assert WebhookDelivery.objects.get().state == JobState.REJECTED
    with pytest.raises(ConflictError, match="disabled"):
        ping(endpoint=endpoint[0])
    with pytest.raises(ConflictError, match="disabled"):
        replay(delivery=WebhookDelivery.objects.get())
    roll_back_target = registered(2)
    activate(version=roll_back_target, by=Actor(name="test"))
    assert WebhookDelivery.objects.count() == 1


def test_redirects_and_private_addresses_are_failures(there: Receiver, endpoint: Any, settings: Any) -> None:
    there.answers = [301]
    activate(version=registered(1), by=Actor(name="test"))
    deliver()
    assert "redirects are not followed" in WebhookDelivery.objects.get().reason
    settings.WEBHOOK_NETWORKS = []
    make_due()
    deliver()
    delivery = WebhookDelivery.objects.get()
    assert "127.0.0.1 is not a public address" in delivery.reason
    assert (delivery.response_status, delivery.attempts, len(there.got)) == (None, 2, 1)
    with pytest.raises(InvalidInputError, match="not a public address"):
        create_endpoint(url=there.url, types=EVERYTHING)


def test_a_new_secret_and_the_former_one_for_a_day(there: Receiver, endpoint: tuple[WebhookEndpoint, str]) -> None:
    row, former = endpoint
    latest = renew_secret(endpoint=row)
    ping(endpoint=row)
    deliver()
    headers, body = there.got[-1]
    for secret in (former, latest):
        assert Webhook(secret).verify(body, headers)["type"] == "ping"
    WebhookEndpoint.objects.update(secret_made=timezone.now() - timedelta(hours=25))
    ping(endpoint=row)
    deliver()
    headers, body = there.got[-1]
    Webhook(latest).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(former).verify(body, headers)


def test_a_slow_receiver_does_not_delay_the_others(there: Receiver, endpoint: tuple[WebhookEndpoint, str]) -> None:
    """While one message to an address is under way, the next one to it waits, and another address gets its own."""
    other, _ = create_endpoint(url=there.url, types=["model.retired"])
    for _ in range(2):
        ping(endpoint=endpoint[0])
    assert DELIVERIES.claim_one(worker="test") is not None
    assert not DELIVERIES.due().exists()
    ping(endpoint=other)
    deliver()
    assert list(WebhookDelivery.objects.order_by("id").values_list("state", flat=True)) == [
        JobState.RUNNING, JobState.QUEUED, JobState.COMPLETE,
    ]  # fmt: skip


def test_the_jobs_worker_delivers(there: Receiver, endpoint: tuple[WebhookEndpoint, str], tmp_path: Any) -> None:
    environment = {"WEBHOOK_HTTP": "1", "WEBHOOK_NETWORKS": "127.0.0.0/8"}
    with running("jobs", tmp_path / "log", **environment):
        ping(endpoint=endpoint[0])
        wait_for(lambda: len(there.got) == 1, 30, "The ping")
        # A wake-up message that was lost: the dispatcher sends it again.
        WebhookDelivery.objects.create(endpoint=endpoint[0])
        with running("dispatcher", tmp_path / "dispatcher.log"):
            wait_for(lambda: len(there.got) == 2, 30, "The one without a wake-up message")
    for headers, body in there.got:
        Webhook(endpoint[1]).verify(body, headers)


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    return client


def test_the_console_adds_pings_renews_and_sends_again(there: Receiver, operator: Client) -> None:
    add = reverse("admin:events_webhookendpoint_add")
    given = {"url": there.url, "description": "Mirror", "types": ["model.activated"]}
    assert b"not a public address" in operator.post(add, {**given, "url": "https://10.0.0.1/"}).content
    shown = operator.post(add, given).content.decode()
    secret = shown.partition('<pre id="secret">')[2].partition("</pre>")[0]
    row = WebhookEndpoint.objects.get()
    page = reverse("admin:events_webhookendpoint_change", args=[row.pk])
    assert secret not in operator.get(page).content.decode()
    assert operator.post(reverse("admin:events_webhookendpoint_ping", args=[row.pk])).status_code == 302
    deliver()
    Webhook(secret).verify(there.got[0][1], there.got[0][0])

    delivery = WebhookDelivery.objects.get()
    of_delivery = reverse("admin:events_webhookdelivery_change", args=[delivery.pk])
    again = reverse("admin:events_webhookdelivery_replay", args=[delivery.pk])
    assert again in operator.get(of_delivery).content.decode()
    assert operator.post(again).status_code == 302
    assert b"queued already" in operator.post(again).content
    deliver()
    assert len(there.got) == 2
    assert b"Complete" in operator.get(reverse("admin:events_webhookdelivery_changelist")).content

    renewed = operator.post(reverse("admin:events_webhookendpoint_secret", args=[row.pk])).content.decode()
    assert "whsec_" in renewed
    assert secret not in renewed
    wrong = operator.post(page, {"url": "ftp://x", "types": ["model.retired"]})
    assert b"Give a complete URL" in wrong.content
    assert operator.post(page, {**given, "types": ["model.retired"], "is_enabled": "on"}).status_code == 302
    row.refresh_from_db()
    assert row.types == ["model.retired"]
    activate(version=registered(1), by=Actor(name="test"))
    assert b"model.activated" in operator.get(reverse("admin:events_modelevent_changelist")).content
