"""The cache of loaded versions, as workers and web processes use it, with several threads."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections
from django.utils import timezone

from apps.deployment.models import Activation
from apps.inference import version_cache
from apps.inference.version_cache import InService, VersionCache
from apps.registry.models import ModelVersion

Loads = dict[UUID, Callable[[], Any]]


class Network:
    """What loading gives here; the real predictors are in ``tests/workers/test_versions.py``."""

    def __init__(self, version: ModelVersion | None = None) -> None:
        self.version = version

    def warm_up(self) -> None:
        pass


@pytest.fixture
def loads(db: None, monkeypatch: pytest.MonkeyPatch) -> Loads:
    """What loading a version does, by its id; by default it succeeds."""
    found: Loads = {}
    monkeypatch.setattr(
        version_cache, "load_version", lambda version, **_: found.get(version.pk, lambda: Network(version))()
    )
    return found


def register(number: int) -> ModelVersion:
    return ModelVersion.objects.create(
        name="net", number=number, sha256=f"{number:064}", device_uid=f"2.25.{number}", manifest={}
    )


def broken() -> Network:
    raise OSError("damaged")


def held(cache: VersionCache) -> dict[int, str]:
    return {each.version.number: each.state for each in cache.states()}


def settled(cache: VersionCache, pointers: dict[UUID | None, UUID], **more: Any) -> InService:
    """The versions in service when all that can be loaded is loaded."""
    found = cache.in_service(pointers, **more)
    while found.wait(60):
        found = cache.in_service(pointers, **more)
    return found


def test_threads_that_request_the_same_version_load_it_once(loads: Loads) -> None:
    cache, version, count, start = VersionCache(device="cpu"), register(1), [], threading.Barrier(8)

    def load() -> Network:
        count.append(1)
        time.sleep(0.05)
        return Network()

    def request(_: int) -> Any:
        start.wait(60)
        return cache.request(version).result(10)

    loads[version.pk] = load
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(request, range(8)))
    assert len(set(map(id, found))) == len(count) == 1


@pytest.mark.parametrize("limit", [1, 3])
def test_a_limit_lets_each_scope_come_to_its_own_version(loads: Loads, limit: int) -> None:
    """What is being loaded is not forgotten, and the former version answers until then."""
    cache, slow = VersionCache(device="cpu", limit=limit), threading.Event()
    platform, *pinned = (register(number) for number in (1, 2, 3))
    pointers: dict[UUID | None, UUID] = {None: platform.pk, **{uuid4(): each.pk for each in pinned}}
    for scope in pointers:
        settled(cache, pointers, scopes=[scope])
    settled(cache, pointers, scopes=[None])
    second, count = register(4), []

    def load() -> Network:
        count.append(1)
        slow.wait(60)
        return Network(second)

    loads[second.pk] = load
    pointers[None] = second.pk
    for _ in range(3):
        assert cache.in_service(pointers, scopes=[None]).versions[None].version == platform
    slow.set()
    assert settled(cache, pointers, scopes=[None]).versions[None].version == second
    assert len(count) == 1
    for scope, pk in pointers.items():
        assert settled(cache, pointers, scopes=[scope]).versions[scope].version.pk == pk
    assert len(held(cache)) <= limit


def test_threads_read_with_one_whole_version_while_versions_are_swapped_and_refused(loads: Loads) -> None:
    cache = VersionCache(device="cpu")
    first, second, bad = (register(number) for number in (1, 2, 3))
    loads[bad.pk] = broken
    pointer: dict[UUID | None, UUID] = {None: first.pk}
    settled(cache, pointer)
    stop, start = threading.Event(), threading.Barrier(5)

    def read() -> set[int]:
        seen = set()
        start.wait(60)
        try:
            while not stop.is_set():
                used = cache.in_service(dict(pointer)).versions[None]
                assert used.predictor.version == used.version  # type: ignore[attr-defined]
                seen.add(used.version.number)
        finally:
            connections.close_all()
        return seen

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(4)]
        start.wait(60)
        try:
            for version in (second, bad, first) * 5:
                pointer[None] = version.pk
                # A reader that still has the pointer of before may swap the former one back for a moment.
                expected = {first, second} if version == bad else {version}
                assert settled(cache, dict(pointer)).versions[None].version in expected
        finally:
            stop.set()
        seen = [reader.result(10) for reader in readers]
    assert set().union(*seen) == {1, 2}
    assert cache.in_service({None: first.pk}).versions[None].version == first


def test_what_no_scope_uses_is_forgotten_but_one_for_a_rollback(loads: Loads) -> None:
    cache, tenant = VersionCache(device="cpu"), uuid4()
    versions = [register(number) for number in range(5)]
    loads[versions[4].pk] = broken
    for version in versions[:4]:
        settled(cache, {None: version.pk, tenant: versions[0].pk})
    assert held(cache) == {0: "loaded", 2: "loaded", 3: "loaded"}
    settled(cache, {None: versions[3].pk, tenant: versions[0].pk}, on_trial=[versions[1].pk])
    cache.request(versions[1]).result(5)
    settled(cache, {None: versions[3].pk, tenant: versions[0].pk}, on_trial=[versions[1].pk])
    assert held(cache) == {0: "loaded", 1: "loaded", 2: "loaded", 3: "loaded"}
    settled(cache, {None: versions[4].pk, tenant: versions[0].pk})
    assert held(cache) == {0: "loaded", 2: "loaded", 3: "loaded", 4: "refused"}, "The former one goes on."
    settled(cache, {None: versions[3].pk})
    assert held(cache) == {0: "loaded", 3: "loaded"}, "A refused version is tried at once when it is needed again."


def test_a_limit_forgets_what_was_not_used_for_the_longest_time(loads: Loads) -> None:
    cache, count = VersionCache(device="cpu", limit=2), [0, 0, 0]
    versions = [register(number) for number in range(3)]

    def counted(index: int) -> Network:
        count[index] += 1
        return Network()

    for index, each in enumerate(versions):
        loads[each.pk] = lambda index=index: counted(index)
    for index in (0, 1, 0, 2, 0):
        cache.request(versions[index]).result(5)
    assert count == [1, 1, 1]
    assert held(cache).keys() == {0, 2}
    assert cache.in_service({None: versions[0].pk, uuid4(): versions[1].pk}, scopes=[None]).versions
    assert held(cache).keys() == {0, 2}, "No other scope is loaded."
    cache.request(versions[1]).result(5)
    assert count == [1, 2, 1]


def test_a_refused_version_is_tried_again_after_a_pause(loads: Loads) -> None:
    changes: list[int] = []
    cache, bad, tries = VersionCache(device="cpu", on_change=lambda: changes.append(1)), register(1), []

    def fail() -> Network:
        tries.append(1)
        raise OSError("damaged")

    loads[bad.pk] = fail
    for _ in range(3):
        assert isinstance(cache.request(bad).exception(5), OSError)
    assert len(tries) == len(changes) == 1
    assert [(each.state, each.reason) for each in cache.states()] == [("refused", "damaged")]
    cache._entries[bad.pk].retry_at = 0.0
    loads[bad.pk] = Network
    assert cache.request(bad).result(5).version == bad
    assert held(cache) == {1: "loaded"}


def test_a_new_pin_begins_with_the_platforms_version_and_an_old_one_never_does(loads: Loads) -> None:
    cache, ready, new_pin, old_pin = VersionCache(device="cpu"), threading.Event(), uuid4(), uuid4()
    platform, slow, bad = (register(number) for number in (1, 2, 3))

    def load() -> Network:
        assert ready.wait(60)
        return Network()

    loads.update({slow.pk: load, bad.pk: broken})
    assert settled(cache, {None: platform.pk, old_pin: bad.pk}).versions.keys() == {None}
    pointers = {None: platform.pk, old_pin: bad.pk, new_pin: slow.pk}
    found = cache.in_service(pointers)
    assert {scope: each.version for scope, each in found.versions.items()} == {None: platform, new_pin: platform}
    ready.set()
    assert settled(cache, pointers).versions[new_pin].version == slow
    assert cache.in_service({None: platform.pk}).versions.keys() == {None}


def test_a_process_that_starts_on_a_broken_version_uses_the_former_one_of_the_ledger(loads: Loads) -> None:
    former, bad = register(1), register(2)
    Activation.objects.create(number=1, from_version=former, to_version=bad, thresholds={}, actor="test")
    loads[bad.pk] = broken
    cache = VersionCache(device="cpu")
    for _ in range(2):
        assert settled(cache, {None: bad.pk}).versions[None].version == former
    former.retired = timezone.now()
    former.save()
    assert settled(cache, {None: bad.pk}).versions == {}, "A retired version is not used."


def test_nothing_waits_for_a_version_on_trial(loads: Loads) -> None:
    cache, ready = VersionCache(device="cpu"), threading.Event()
    serving, trial = register(1), register(2)

    def load() -> Network:
        assert ready.wait(60)
        return Network()

    loads[trial.pk] = load
    found = settled(cache, {None: serving.pk}, on_trial=[trial.pk])
    assert (found.versions[None].version, found.on_trial) == (serving, {})
    ready.set()
    cache.request(trial).result(5)
    assert cache.in_service({None: serving.pk}, on_trial=[trial.pk]).on_trial.keys() == {trial.pk}
