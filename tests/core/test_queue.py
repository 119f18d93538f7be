"""Bells: one message of a kind waits at most, and one that was taken counts no more."""

import pytest
from celery import Celery

from apps.core import queue
from apps.core.metrics import BELLS_LOST
from apps.core.queue import Bell, broker, ring_now

QUEUES = {Bell.INFER: "inference", Bell.EVALUATE: "evaluations", Bell.PREVIEW: "previews", Bell.DELIVER: "deliveries"}


def waiting(bell: Bell) -> int:
    with broker.pool.acquire() as connection:
        return int(connection.default_channel.client.llen(QUEUES[bell]))


def take(bell: Bell) -> str:
    with broker.pool.acquire() as connection:
        message = connection.default_channel.basic_get(QUEUES[bell], no_ack=True)
        return str(message.headers["task"])


@pytest.fixture(autouse=True)
def silent(servers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_away_until", 0.0)
    with broker.pool.acquire() as connection:
        connection.default_channel.client.delete(*QUEUES.values())


@pytest.mark.parametrize("bell", Bell)
def test_a_bell_rings_again_only_when_its_message_was_taken(bell: Bell) -> None:
    assert ring_now(bell)
    assert ring_now(bell)
    assert waiting(bell) == 1
    assert [waiting(other) for other in Bell if other != bell] == [0, 0, 0]
    assert take(bell) == bell.value
    assert ring_now(bell)
    assert waiting(bell) == 1


def test_a_broker_that_is_away_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = BELLS_LOST._value.get()
    with monkeypatch.context() as away:
        away.setattr(queue, "broker", Celery("away", broker="redis://127.0.0.1:1/0"))
        assert not ring_now(Bell.INFER)
    assert not ring_now(Bell.INFER)
    assert BELLS_LOST._value.get() == lost + 2
    assert waiting(Bell.INFER) == 0
    monkeypatch.setattr(queue, "_away_until", 0.0)
    assert ring_now(Bell.INFER)
