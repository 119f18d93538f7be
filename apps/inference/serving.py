"""What one web process holds to answer /predict: loaded versions, and bounds on how much it takes on at once."""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from django.conf import settings

from apps.core.errors import TooManyRequestsError, UnavailableError
from apps.deployment.ledger.rollback import former_version
from apps.deployment.selectors import deployments, nameable_versions, version_for
from apps.inference.loading import load_version
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import find_version

logger = logging.getLogger(__name__)
Answering = tuple[ModelVersion, "engine.Predictor"]
# A version that could not be loaded is tried again after a while, not for each request.
_RETRY_SECONDS = 30.0


class LoadedVersions:
    """The predictors that were asked for last, on the CPU: a GPU belongs to the workers, and torch stays out.

    Loading happens in a thread of its own, one version at a time, so that a caller's patience may end before it does,
    and whoever named no version is answered by the former one meanwhile.
    """

    def __init__(self, capacity: int, threads: int) -> None:
        self._capacity, self._threads = capacity, threads
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load-version")
        self._versions: OrderedDict[UUID, ModelVersion] = OrderedDict()
        self._predictors: dict[UUID, Future[engine.Predictor]] = {}
        self._retry_at: dict[UUID, float] = {}
        self._answered: dict[UUID | None, ModelVersion] = {}

    def known(self, version_id: UUID | None) -> ModelVersion | None:
        """A version that is held already; versions never change, so the database need not be asked."""
        with self._lock:
            return self._versions.get(version_id) if version_id else None

    def predictor(self, version: ModelVersion, deadline: float) -> "engine.Predictor":
        """The version's predictor, loaded on first use.

        Args:
            deadline: on the clock of ``time.monotonic``.

        Raises:
            UnavailableError: it is still being loaded, or cannot be.
        """
        loading = self._asked_for(version)
        try:
            return loading.result(max(0.0, deadline - time.monotonic()))
        except FutureTimeoutError as error:
            raise UnavailableError(
                f"{version} is being loaded for the first time; try again.", "model-loading"
            ) from error
        # An artifact may fail in the storage, in its hash, in the runtime or in memory.
        except Exception as error:
            raise UnavailableError(
                f"{version} cannot be loaded here; the operator finds the reason in the log.", "model-unusable"
            ) from error

    def in_service(self, wish: "Requested", deadline: float, *, is_fitted: bool) -> Answering:
        """The version that a pointer names; while it loads, or if it cannot be, the one that answered before it.

        Args:
            is_fitted: the caller has fitted the images to the input space of the pointer's version.

        Raises:
            UnavailableError: as `predictor`, where there is none to go on with either.
        """
        version, before = wish.version, self._before(wish)
        if before is not None and is_fitted and not _share_input(before, version):
            before = None
        is_loading = before is not None and not self._asked_for(version).done()
        if before is not None and is_loading and self._is_ready(before) and _may_read(before):
            return before, self.predictor(before, deadline)
        try:
            predictor = self.predictor(version, deadline)
        except UnavailableError as error:
            if error.code != "model-unusable":
                raise
            former = former_version(wish.scope, version.pk) or before
            if former is None or not _may_read(former) or (is_fitted and not _share_input(former, version)):
                raise
            version, predictor = former, self.predictor(former, deadline)
        self._answered[wish.scope] = version
        return version, predictor

    def _before(self, wish: "Requested") -> ModelVersion | None:
        """What answered last in the scope; before a tenant was pinned, that was the platform's version."""
        before = self._answered.get(wish.scope) or self._answered.get(None)
        return None if before == wish.version else before

    def forget_pin(self, tenant_id: UUID) -> None:
        """The tenant follows the platform: what answered it by a pin of its own answers no more."""
        self._answered.pop(tenant_id, None)

    def _is_ready(self, version: ModelVersion) -> bool:
        with self._lock:
            loading = self._predictors.get(version.pk)
        return loading is not None and loading.done() and loading.exception() is None

    def _asked_for(self, version: ModelVersion) -> "Future[engine.Predictor]":
        with self._lock:
            loading = self._predictors.get(version.pk)
            if loading is not None and time.monotonic() > self._retry_at.get(version.pk, float("inf")):
                loading = None
            if loading is None:
                self._retry_at.pop(version.pk, None)
                loading = self._predictors[version.pk] = self._loader.submit(self._load, version)
                self._versions[version.pk] = version
            self._versions.move_to_end(version.pk)
            while len(self._versions) > self._capacity:
                oldest, _ = self._versions.popitem(last=False)
                self._predictors.pop(oldest).cancel()
            return loading

    def _load(self, version: ModelVersion) -> "engine.Predictor":
        try:
            predictor = load_version(version, device="cpu", threads=self._threads)
            predictor.warm_up()
        except Exception as error:
            logger.error("%s cannot be loaded: %s", version, error)
            self._retry_at[version.pk] = time.monotonic() + _RETRY_SECONDS
            raise
        return predictor


class Admission:
    """How many requests of /predict one process has, from the first byte of a body to the answer."""

    def __init__(self, at_once: int, pending: int, pending_per_caller: int) -> None:
        self._running = threading.BoundedSemaphore(at_once)
        self._limit, self._limit_per_caller = pending, pending_per_caller
        self._lock = threading.Lock()
        self._pending: Counter[UUID] = Counter()

    @contextmanager
    def pending(self, caller: UUID) -> Iterator[None]:
        """One request of a tenant.

        Raises:
            TooManyRequestsError: the tenant has enough of them under way.
            UnavailableError: the process has.
        """
        with self._lock:
            if self._pending[caller] >= self._limit_per_caller:
                raise TooManyRequestsError(
                    f"{self._limit_per_caller} requests of this hospital are under way: wait for one of them."
                )
            if self._pending.total() >= self._limit:
                raise _busy()
            self._pending[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._pending[caller] -= 1
                if not self._pending[caller]:
                    del self._pending[caller]

    @contextmanager
    def running(self, deadline: float) -> Iterator[None]:
        """One of the few turns in which images are decoded and go through the network.

        Raises:
            UnavailableError: none came free before the deadline.
        """
        if not self._running.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise _busy()
        try:
            yield
        finally:
            self._running.release()


def _share_input(version: ModelVersion, other: ModelVersion) -> bool:
    return bool(version.manifest["input_space"] == other.manifest["input_space"])


def _may_read(version: ModelVersion) -> bool:
    """Asked of the database: it may have been retired since it was loaded."""
    return ModelVersion.objects.filter(pk=version.pk, retired=None).exists()


def _busy() -> UnavailableError:
    return UnavailableError("The service is busy with other requests; try again.", "busy")


@lru_cache(maxsize=1)
def loaded_versions() -> LoadedVersions:
    """Those of this web process, held from its first request on."""
    return LoadedVersions(settings.PREDICT_VERSIONS, settings.PREDICT_THREADS)


@lru_cache(maxsize=1)
def admission() -> Admission:
    """That of this web process."""
    return Admission(settings.PREDICT_AT_ONCE, settings.PREDICT_PENDING, settings.PREDICT_PENDING_PER_CALLER)


@dataclass(frozen=True)
class Requested:
    """The version that is to answer; ``scope`` is whose pointer named it, where the caller did not."""

    version: ModelVersion
    is_named: bool
    scope: UUID | None = None

    def loaded(self, deadline: float, *, is_fitted: bool) -> Answering:
        """What answers and its predictor: a version that was named itself, or else as `LoadedVersions.in_service`."""
        if self.is_named:
            return self.version, loaded_versions().predictor(self.version, deadline)
        return loaded_versions().in_service(self, deadline, is_fitted=is_fitted)


def requested_version(reference: str | None, tenant_id: UUID) -> Requested:
    """The version that a caller names as ``name:number``, or else the one that reads for its tenant.

    Raises:
        InvalidInputError, NotFoundError: there is none of that name, or none that the tenant may name.
        UnavailableError: none is in service.
    """
    if reference is not None:
        return Requested(find_version(reference, among=nameable_versions(tenant_id)), is_named=True)
    pointers = deployments()
    scope = tenant_id if tenant_id in pointers else None
    if scope is None:
        loaded_versions().forget_pin(tenant_id)
    version = loaded_versions().known(pointers.get(scope)) or version_for(tenant_id)
    if version is None:
        raise UnavailableError("No model version is in service: an operator must activate one.", "no-model-in-service")
    return Requested(version, is_named=False, scope=scope)
