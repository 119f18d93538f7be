"""The limits of /predict in one process, and its cache of loaded versions."""

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from apps.core.errors import ChecxrayError, TooManyRequestsError, UnavailableError
from apps.inference import serving
from apps.inference.serving import LoadedVersions, PredictLimits, RequestedVersion
from apps.registry.models import ModelVersion


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
    waiting.join(5)

    assert order == ["first", "second"]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> dict[UUID, Callable[[], Any]]:
    """What loading a version does, by its id."""
    found: dict[UUID, Callable[[], Any]] = {}
    monkeypatch.setattr(serving, "load_version", lambda version, **_: found[version.pk]())
    monkeypatch.setattr(serving, "_may_read", lambda version: version.retired is None)
    return found


class Loaded:
    def warm_up(self) -> None:
        pass


def version(number: int, size: int = 224) -> ModelVersion:
    return ModelVersion(name="net", number=number, manifest={"input_space": {"size": size}})


def pointed(version: ModelVersion) -> RequestedVersion:
    return RequestedVersion(version, is_named=False)


def test_a_version_is_loaded_once_and_the_oldest_is_let_go(loads: dict[UUID, Callable[[], Any]]) -> None:
    held, versions, count = LoadedVersions(2, 1), [version(n) for n in range(3)], [0, 0, 0]

    def counted(index: int) -> Loaded:
        count[index] += 1
        return Loaded()

    for index, each in enumerate(versions):
        loads[each.pk] = lambda index=index: counted(index)
    for index in (0, 1, 0, 2, 0):
        held.predictor(versions[index], soon())

    assert count == [1, 1, 1]
    assert held.known(versions[1].pk) is None
    assert held.known(versions[0].pk) == versions[0]
    held.predictor(versions[1], soon())
    assert count == [1, 2, 1]


def test_a_caller_does_not_wait_for_ever_and_the_next_one_finds_it(loads: dict[UUID, Callable[[], Any]]) -> None:
    held, slow, ready = LoadedVersions(2, 1), version(1), threading.Event()

    def load() -> Loaded:
        assert ready.wait(5)
        return Loaded()

    loads[slow.pk] = load
    with pytest.raises(UnavailableError) as refused:
        held.predictor(slow, soon(0.05))
    ready.set()

    assert refused.value.code == "model-loading"
    assert isinstance(held.predictor(slow, soon()), Loaded)


def test_a_broken_version_is_tried_again_after_a_while(
    loads: dict[UUID, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, broken, tries = LoadedVersions(2, 1), version(1), []

    def fail() -> Loaded:
        tries.append(1)
        raise OSError("/secret/path")

    loads[broken.pk] = fail
    for _ in range(3):
        with pytest.raises(ChecxrayError) as refused:
            held.predictor(broken, soon())
        assert refused.value.code == "model-unusable"
        assert "secret" not in refused.value.detail
    assert len(tries) == 1
    monkeypatch.setattr(serving, "_RETRY_SECONDS", 0.0)
    held._retry_at[broken.pk] = 0.0
    with pytest.raises(UnavailableError):
        held.predictor(broken, soon())
    assert len(tries) == 2


def test_the_former_version_answers_until_the_next_one_is_loaded(loads: dict[UUID, Callable[[], Any]]) -> None:
    held, ready = LoadedVersions(3, 1), threading.Event()
    former, slow, other_size = version(1), version(2), version(3, size=512)

    def load() -> Loaded:
        assert ready.wait(5)
        return Loaded()

    loads.update({former.pk: Loaded, slow.pk: load, other_size.pk: load})
    assert held.in_service(pointed(former), soon(), is_fitted=False)[0] == former
    assert held.in_service(pointed(slow), soon(0.05), is_fitted=False)[0] == former
    assert held.in_service(pointed(slow), soon(0.05), is_fitted=True)[0] == former
    with pytest.raises(UnavailableError, match="being loaded"):
        held.in_service(pointed(other_size), soon(0.05), is_fitted=True)
    with pytest.raises(UnavailableError, match="being loaded"):
        held.predictor(slow, soon(0.05))
    ready.set()
    held.predictor(slow, soon())

    assert held.in_service(pointed(slow), soon(), is_fitted=False)[0] == slow
    assert held.in_service(pointed(former), soon(), is_fitted=False)[0] == former


def test_where_the_next_version_is_broken_the_former_one_goes_on(
    loads: dict[UUID, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    former, broken = version(1), version(2)

    def fail() -> Loaded:
        raise OSError

    loads.update({former.pk: Loaded, broken.pk: fail})
    monkeypatch.setattr(serving, "former_version", lambda scope, version_id: None)
    held = LoadedVersions(2, 1)
    held.in_service(pointed(former), soon(), is_fitted=False)
    for _ in range(3):
        assert held.in_service(pointed(broken), soon(), is_fitted=True)[0] == former
    former.retired = timezone.now()
    with pytest.raises(UnavailableError, match="cannot be loaded"):
        held.in_service(pointed(broken), soon(), is_fitted=False)
    former.retired = None
    # A process that starts now reads the former version from the ledger.
    monkeypatch.setattr(serving, "former_version", lambda scope, version_id: former)
    assert LoadedVersions(2, 1).in_service(pointed(broken), soon(), is_fitted=False)[0] == former
    monkeypatch.setattr(serving, "former_version", lambda scope, version_id: None)
    with pytest.raises(UnavailableError, match="cannot be loaded"):
        LoadedVersions(2, 1).in_service(pointed(broken), soon(), is_fitted=False)
