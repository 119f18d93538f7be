"""Wake-up messages: at most one of a kind waits in the broker."""

import pytest
from celery import Celery

from apps.core import wake_up
from apps.core.metrics import WAKE_UPS_LOST
from apps.core.wake_up import WakeUp, broker, wake_now

QUEUES = {
    WakeUp.INFER: "inference",
    WakeUp.EVALUATE: "evaluations",
    WakeUp.PREVIEW: "previews",
    WakeUp.DELIVER: "deliveries",
    WakeUp.CREATE_RESULTS: "results",
    WakeUp.SEND: "sending",
    WakeUp.COMMIT: "commitments",
}


def waiting(wake_up: WakeUp) -> int:
    with broker.pool.acquire() as connection:
        return int(connection.default_channel.client.llen(QUEUES[wake_up]))


def take(wake_up: WakeUp) -> str:
    with broker.pool.acquire() as connection:
        message = connection.default_channel.basic_get(QUEUES[wake_up], no_ack=True)
        return str(message.headers["task"])


@pytest.fixture(autouse=True)
def silent(servers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake_up, "_away_until", 0.0)
    with broker.pool.acquire() as connection:
        connection.default_channel.client.delete(*QUEUES.values())


@pytest.mark.parametrize("wake_up", WakeUp)
def test_a_message_is_sent_again_only_when_the_last_was_taken(wake_up: WakeUp) -> None:
    assert wake_now(wake_up)
    assert wake_now(wake_up)
    assert waiting(wake_up) == 1
    assert [waiting(other) for other in WakeUp if other != wake_up] == [0] * (len(WakeUp) - 1)
    assert take(wake_up) == wake_up.value
    assert wake_now(wake_up)
    assert waiting(wake_up) == 1


def test_a_broker_that_is_away_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = WAKE_UPS_LOST._value.get()
    with monkeypatch.context() as away:
        away.setattr(wake_up, "broker", Celery("away", broker="redis://127.0.0.1:1/0"))
        assert not wake_now(WakeUp.INFER)
    assert not wake_now(WakeUp.INFER)
    assert WAKE_UPS_LOST._value.get() == lost + 2
    assert waiting(WakeUp.INFER) == 0
    monkeypatch.setattr(wake_up, "_away_until", 0.0)
    assert wake_now(WakeUp.INFER)
