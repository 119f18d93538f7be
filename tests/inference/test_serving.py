"""The limits of /predict in one process, and which version answers."""

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from apps.core.errors import TooManyRequestsError, UnavailableError
from apps.inference import serving, version_cache
from apps.inference.serving import PredictLimits, RequestedVersion
from apps.inference.version_cache import VersionCache
from apps.registry.models import ModelVersion

Loads = dict[UUID, Callable[[], Any]]


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def test_one_caller_cannot_take_every_place() -> None:
    predict_limits, north, south = PredictLimits(at_once=1, pending=3, pending_per_caller=2), uuid4(), uuid4()

    with predict_limits.pending(north), predict_limits.pending(north):
        with pytest.raises(TooManyRequestsError):
            predict_limits.pending(north).__enter__()
        with predict_limits.pending(south), pytest.raises(UnavailableError, match="busy"):
            predict_limits.pending(uuid4()).__enter__()
    with predict_limits.pending(north), predict_limits.pending(north):
        pass


def test_a_turn_is_waited_for_and_no_longer_than_the_deadline() -> None:
    predict_limits, order = PredictLimits(at_once=1, pending=3, pending_per_caller=3), []

    def later() -> None:
        with predict_limits.running(soon()):
            order.append("second")

    with predict_limits.running(soon()):
        waiting = threading.Thread(target=later)
        waiting.start()
        with pytest.raises(UnavailableError, match="busy"), predict_limits.running(soon(0.05)):
            order.append("never")
        order.append("first")
    waiting.join(60)

    assert order == ["first", "second"]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """What loading a version does, by its id, in a web process that starts now."""
    found: Loads = {}
    cache = VersionCache(device="cpu", limit=3)
    monkeypatch.setattr(version_cache, "load_version", lambda version, **_: found[version.pk]())
    monkeypatch.setattr(serving, "version_cache", lambda: cache)
    return found


class Network:
    def warm_up(self) -> None:
        pass


def version(number: int, size: int = 224) -> ModelVersion:
    return ModelVersion.objects.create(
        name="net",
        number=number,
        sha256=f"{number:064}",
        device_uid=f"2.25.{number}",
        manifest={"input_space": {"size": size}},
    )


def answering(version: ModelVersion, seconds: float = 5.0, *, is_preprocessed: bool = False) -> ModelVersion:
    """The version that answers while this one is in service."""
    requested = RequestedVersion(version, is_named=False, pointers={None: version.pk})
    return requested.loaded(soon(seconds), is_preprocessed=is_preprocessed).version


def test_a_caller_does_not_wait_for_ever_and_the_next_one_finds_it(db: None, loads: Loads) -> None:
    slow, ready = version(1), threading.Event()

    def load() -> Network:
        assert ready.wait(60)
        return Network()

    loads[slow.pk] = load
    for ask in (RequestedVersion(slow, is_named=True), RequestedVersion(slow, False, pointers={None: slow.pk})):
        with pytest.raises(UnavailableError) as refused:
            ask.loaded(soon(0.05), is_preprocessed=False)
        assert refused.value.code == "model-loading"
    ready.set()
    assert RequestedVersion(slow, is_named=True).loaded(soon(), is_preprocessed=False).version == slow


def test_the_reason_of_a_broken_version_is_for_the_operator(db: None, loads: Loads) -> None:
    broken = version(1)

    def fail() -> Network:
        raise OSError("/secret/path")

    loads[broken.pk] = fail
    for ask in (RequestedVersion(broken, is_named=True), RequestedVersion(broken, False, pointers={None: broken.pk})):
        with pytest.raises(UnavailableError) as refused:
            ask.loaded(soon(), is_preprocessed=False)
        assert refused.value.code == "model-unusable"
        assert "secret" not in refused.value.detail


def test_the_former_version_answers_until_the_next_one_is_loaded(db: None, loads: Loads) -> None:
    ready = threading.Event()
    former, slow, other_size = version(1), version(2), version(3, size=512)

    def load() -> Network:
        assert ready.wait(60)
        return Network()

    loads.update({former.pk: Network, slow.pk: load, other_size.pk: load})
    assert answering(former) == former
    assert answering(slow, 0.05) == former
    assert answering(slow, 0.05, is_preprocessed=True) == former
    with pytest.raises(UnavailableError, match="being loaded"):
        answering(other_size, 0.05, is_preprocessed=True)
    with pytest.raises(UnavailableError, match="being loaded"):
        RequestedVersion(slow, is_named=True).loaded(soon(0.05), is_preprocessed=False)
    ready.set()
    RequestedVersion(slow, is_named=True).loaded(soon(), is_preprocessed=False)
    assert answering(slow) == slow
    assert answering(former) == former


def test_where_the_next_version_is_broken_the_former_one_goes_on(db: None, loads: Loads) -> None:
    former, broken, other_size = version(1), version(2), version(3, size=512)

    def fail() -> Network:
        raise OSError

    loads.update({former.pk: Network, broken.pk: fail, other_size.pk: fail})
    answering(former)
    for _ in range(3):
        assert answering(broken, is_preprocessed=True) == former
    with pytest.raises(UnavailableError, match="cannot be loaded"):
        answering(other_size, is_preprocessed=True)
    ModelVersion.objects.filter(pk=former.pk).update(retired=timezone.now())
    with pytest.raises(UnavailableError, match="cannot be loaded"):
        answering(broken)
