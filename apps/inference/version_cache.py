"""The model versions that one process holds. Inference workers and web processes use the same class."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from uuid import UUID

from apps.deployment.ledger.rollback import former_version
from apps.inference.loading import load_version
from apps.registry import engine
from apps.registry.models import ModelVersion

logger = logging.getLogger(__name__)
# A version that could not be loaded is tried again after this time; a damaged one less and less often.
_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 30.0, 900.0
# The former version stays loaded, so that a rollback does not wait.
_SPARES = 1

DeploymentScope = UUID | None
"""Whom a deployment serves: a tenant that is pinned to a version of its own; None stands for all other tenants."""


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    version: ModelVersion
    predictor: engine.Predictor


Loading = Future[LoadedVersion]


@dataclass(frozen=True)
class InService:
    """The versions to use now.

    Attributes:
        versions: by scope. A scope without a loaded version is missing.
        on_trial: the loaded challengers, by the version's id.
        loading: what is being loaded for the scopes; challengers are not among it.
    """

    versions: Mapping[DeploymentScope, LoadedVersion]
    on_trial: Mapping[UUID, LoadedVersion]
    loading: Sequence[Loading]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until one more is loaded or refused; return False where none was loading, or none ended in time."""
        return bool(wait(self.loading, timeout, FIRST_COMPLETED).done)


@dataclass(eq=False)
class _Entry:
    """One version: loading, loaded, or refused. A refused one keeps its reason while it is tried again."""

    version: ModelVersion
    loading: Loading = field(init=False)
    loaded: LoadedVersion | None = None
    refusal: str = ""
    pause: float = _RETRY_SECONDS
    retry_at: float = float("inf")

    def refuse(self, error: Exception) -> None:
        # A damaged artifact stays damaged; an outage of the storage, or a full GPU, passes.
        is_lasting = bool(self.refusal) and isinstance(error, engine.ArtifactInvalid)
        self.pause = min(2 * self.pause, _LONGEST_RETRY_SECONDS) if is_lasting else _RETRY_SECONDS
        self.refusal = str(error)[:500] or type(error).__name__
        self.retry_at = time.monotonic() + self.pause


@dataclass(frozen=True)
class VersionState:
    """A version in the cache: "loading", "loaded", or "refused" with the reason."""

    version: ModelVersion
    state: str
    reason: str = ""


class VersionCache:
    """Loads versions beside those in use, and keeps the former one where a new one cannot be loaded.

    A background thread loads one version at a time and verifies its files, its identity and its output for the golden
    image. The next call of `in_service` swaps it in.

    Thread-safety: all methods may be called by several threads. One lock guards the state; it is not held while a
    version is loaded or a query runs. Threads that request the same version share one load. A thread goes on with the
    `LoadedVersion` that it got, even when the cache has forgotten it.

    Args:
        device: auto, cpu or cuda.
        threads: the number of CPU threads of a version; None uses every core.
        limit: the most versions to hold, beside those that are being loaded; the one that was not used for the longest
            time is forgotten first. None holds all that are in service or on trial, and one more for a rollback.
        on_change: called in the background thread when a version was loaded or refused.
    """

    def __init__(
        self,
        *,
        device: str,
        threads: int | None = None,
        limit: int | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._device, self._threads, self._limit, self._on_change = device, threads, limit, on_change
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load-version")
        self._lock = threading.Lock()
        # The entry that was used last is the last one.
        self._entries: OrderedDict[UUID, _Entry] = OrderedDict()
        self._pointers: Mapping[DeploymentScope, UUID] = {}
        self._serving: dict[DeploymentScope, UUID] = {}

    def close(self) -> None:
        self._loader.shutdown(cancel_futures=True)

    def request(self, version: ModelVersion) -> Loading:
        """Load a version unless it is here; one that was refused is tried again after a pause."""
        with self._lock:
            loading = self._request(version)
            self._forget_beyond_limit()
            return loading

    def find(self, ids: Collection[UUID]) -> dict[UUID, ModelVersion]:
        """Versions by id. Versions never change, so that one in the cache needs no query."""
        with self._lock:
            known = {pk: self._entries[pk].version for pk in ids if pk in self._entries}
        missing = set(ids) - known.keys()
        return known | ModelVersion.objects.in_bulk(missing) if missing else known

    def in_service(
        self,
        pointers: Mapping[DeploymentScope, UUID],
        *,
        scopes: Iterable[DeploymentScope] | None = None,
        on_trial: Collection[UUID] = (),
    ) -> InService:
        """The version to use in each scope: the one in service or, until it is loaded, the former one.

        A tenant that has just been pinned keeps the platform's version until its own is loaded. Where the version in
        service was refused and no former one is loaded, the ledger names the former one. A retired version is not used.

        Args:
            pointers: the ids of all versions in service.
            scopes: those that are needed now; None for all.
            on_trial: the ids of challengers, which are loaded last.
        """
        wanted = {scope: pointers[scope] for scope in (pointers if scopes is None else scopes)}
        ids = dict.fromkeys([*wanted.values(), *on_trial])
        versions = self.find(ids)
        with self._lock:
            self._follow(pointers)
            for pk in ids:
                self._request(versions[pk])
            lacking = self._swap(wanted)
        formers = self._use_formers(lacking) if lacking else set()
        with self._lock:
            self._swap(wanted)
            used = {self._serving[scope] for scope in wanted.keys() & self._serving.keys()}
            self._forget_unused({*ids, *formers, *used}, used, on_trial)
            needed = [self._entries.get(pk) for pk in {*wanted.values(), *formers}]
            return InService(
                {scope: loaded for scope in wanted if (loaded := self._loaded(self._serving.get(scope)))},
                {pk: loaded for pk in on_trial if (loaded := self._loaded(pk))},
                [each.loading for each in needed if each and not each.loading.done()],
            )

    def states(self) -> list[VersionState]:
        """All versions in the cache, for people."""
        with self._lock:
            return [
                VersionState(each.version, "loaded")
                if each.loaded
                else VersionState(each.version, "refused" if each.refusal else "loading", each.refusal)
                for each in self._entries.values()
            ]

    # The methods below are called with the lock, unless they say otherwise.

    def _request(self, version: ModelVersion) -> Loading:
        entry = self._entries.get(version.pk)
        if entry is None:
            entry = _Entry(version)
            entry.loading = self._loader.submit(self._load, entry)
            self._entries[version.pk] = entry
        elif time.monotonic() > entry.retry_at:
            entry.retry_at = float("inf")
            entry.loading = self._loader.submit(self._load, entry)
        self._entries.move_to_end(version.pk)
        return entry.loading

    def _load(self, entry: _Entry) -> LoadedVersion:
        """Load and verify a version; runs in the background thread, without the lock."""
        try:
            predictor = load_version(entry.version, device=self._device, threads=self._threads)
            predictor.warm_up()
        # An artifact may fail in the storage, in its hash, in the runtime or in memory.
        except Exception as error:
            logger.error("%s cannot be loaded: %s", entry.version, error)
            with self._lock:
                entry.refuse(error)
            raise
        else:
            loaded = LoadedVersion(entry.version, predictor)
            with self._lock:
                entry.loaded, entry.refusal = loaded, ""
            return loaded
        finally:
            self._on_change()

    def _loaded(self, version_id: UUID | None) -> LoadedVersion | None:
        entry = self._entries.get(version_id) if version_id else None
        return entry.loaded if entry else None

    def _follow(self, pointers: Mapping[DeploymentScope, UUID]) -> None:
        """Forget the scopes that ended. A new one begins with the platform's version, which has read there so far."""
        self._serving = {scope: pk for scope, pk in self._serving.items() if scope in pointers}
        if None in self._serving:
            for scope in pointers.keys() - self._pointers.keys():
                self._serving.setdefault(scope, self._serving[None])
        self._pointers = pointers

    def _swap(self, wanted: Mapping[DeploymentScope, UUID]) -> dict[DeploymentScope, UUID]:
        """Swap in the versions that are loaded; return the others."""
        self._serving |= {scope: pk for scope, pk in wanted.items() if self._loaded(pk)}
        return {scope: pk for scope, pk in wanted.items() if not self._loaded(pk)}

    def _use_formers(self, lacking: Mapping[DeploymentScope, UUID]) -> set[UUID]:
        """Choose the former version of scopes whose own is not loaded; called without the lock, as it queries.

        Returns:
            The ids of the versions that the ledger names.
        """
        with self._lock:
            held = {pk for scope in lacking if (pk := self._serving.get(scope))}
        retired = set(ModelVersion.objects.filter(pk__in=held).exclude(retired=None).values_list("pk", flat=True))
        with self._lock:
            self._serving = {scope: pk for scope, pk in self._serving.items() if pk not in retired}
            refused = {scope: pk for scope, pk in lacking.items() if pk in self._entries and self._entries[pk].refusal}
            alone = {scope: pk for scope, pk in refused.items() if not self._loaded(self._serving.get(scope))}
        formers = {scope: former for scope, pk in alone.items() if (former := former_version(scope, pk))}
        with self._lock:
            for scope, former in formers.items():
                self._request(former)
                self._serving[scope] = former.pk
        return {former.pk for former in formers.values()}

    def _forget_unused(self, needed: Set[UUID], used: Set[UUID], on_trial: Collection[UUID]) -> None:
        # Challengers are forgotten first: the spare is for a version that was in service.
        for pk in self._entries.keys() & set(on_trial):
            self._entries.move_to_end(pk, last=False)
        for pk in self._entries.keys() & used:
            self._entries.move_to_end(pk)
        if self._limit is not None:
            return self._forget_beyond_limit(used)
        unused = [pk for pk in self._entries if pk not in needed]
        spares = [pk for pk in unused if self._entries[pk].loaded or self._entries[pk].loading.running()]
        # A refused version that is not needed is forgotten, so that it is tried at once when it is needed again.
        return self._forget(set(unused) - set(spares[-_SPARES:]))

    def _forget_beyond_limit(self, used: Set[UUID] = frozenset()) -> None:
        """Forget the versions that were not used for the longest time.

        One that is being loaded, and one that is used until then, may be beyond the limit for that time: a version that
        is forgotten while it is loaded would never come into use.
        """
        if self._limit is not None:
            idle = [pk for pk, entry in self._entries.items() if entry.loading.done() and pk not in used]
            self._forget(idle[: max(0, len(self._entries) - self._limit)])

    def _forget(self, ids: Iterable[UUID]) -> None:
        for pk in ids:
            self._entries.pop(pk).loading.cancel()
