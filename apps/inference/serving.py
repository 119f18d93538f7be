"""The state of a web process that answers ``/predict``: its loaded versions, and its limits on concurrent requests."""

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
# A version that could not be loaded is tried again after this time, not at each request.
_RETRY_SECONDS = 30.0


class LoadedVersions:
    """A cache of the latest predictors, on the CPU and without torch: a GPU is for the workers.

    One thread loads one version at a time, so that a request can end at its deadline while a version is loading.
    Meanwhile the former version answers requests that name no version.
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
        """A version in the cache. Versions never change, so no query is needed."""
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

    def in_service(self, requested: "RequestedVersion", deadline: float, *, is_fitted: bool) -> Answering:
        """The version in service. While it loads, or if it cannot be loaded, the version that answered before it.

        Args:
            is_fitted: whether the images are already in the input space of the version in service.

        Raises:
            UnavailableError: as `predictor`, where no former version can answer either.
        """
        version, before = requested.version, self._before(requested)
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
            former = former_version(requested.scope, version.pk) or before
            if former is None or not _may_read(former) or (is_fitted and not _share_input(former, version)):
                raise
            version, predictor = former, self.predictor(former, deadline)
        self._answered[requested.scope] = version
        return version, predictor

    def _before(self, requested: "RequestedVersion") -> ModelVersion | None:
        """The version that answered last in this scope: before a tenant had a pin, the platform's version."""
        before = self._answered.get(requested.scope) or self._answered.get(None)
        return None if before == requested.version else before

    def forget_pin(self, tenant_id: UUID) -> None:
        """Forget the pinned version that answered a tenant, which now follows the platform."""
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


class PredictLimits:
    """Limits on the concurrent requests to /predict in one process, from the first byte of a body to the answer."""

    def __init__(self, at_once: int, pending: int, pending_per_caller: int) -> None:
        self._running = threading.BoundedSemaphore(at_once)
        self._limit, self._limit_per_caller = pending, pending_per_caller
        self._lock = threading.Lock()
        self._pending: Counter[UUID] = Counter()

    @contextmanager
    def pending(self, caller: UUID) -> Iterator[None]:
        """Count one request of a tenant while the context is open.

        Raises:
            TooManyRequestsError: the tenant has too many requests.
            UnavailableError: the process has too many requests.
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
        """Wait for a slot in which images are decoded and read.

        Raises:
            UnavailableError: no slot was free before the deadline.
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
    """Whether the version may still be used: it may have been retired since it was loaded."""
    return ModelVersion.objects.filter(pk=version.pk, retired=None).exists()


def _busy() -> UnavailableError:
    return UnavailableError("The service is busy with other requests; try again.", "busy")


@lru_cache(maxsize=1)
def loaded_versions() -> LoadedVersions:
    """The cache of this web process, created at its first request."""
    return LoadedVersions(settings.PREDICT_VERSIONS, settings.PREDICT_THREADS)


@lru_cache(maxsize=1)
def predict_limits() -> PredictLimits:
    """The limits of this web process."""
    return PredictLimits(settings.PREDICT_AT_ONCE, settings.PREDICT_PENDING, settings.PREDICT_PENDING_PER_CALLER)


@dataclass(frozen=True)
class RequestedVersion:
    """The version for a request. ``scope`` is the tenant with the pin, or None, where the caller named no version."""

    version: ModelVersion
    is_named: bool
    scope: UUID | None = None

    def loaded(self, deadline: float, *, is_fitted: bool) -> Answering:
        """The version that answers and its predictor: the named version itself, or as `LoadedVersions.in_service`."""
        if self.is_named:
            return self.version, loaded_versions().predictor(self.version, deadline)
        return loaded_versions().in_service(self, deadline, is_fitted=is_fitted)


def requested_version(reference: str | None, tenant_id: UUID) -> RequestedVersion:
    """The version that a caller names as ``name:number``, or else the version in service for its tenant.

    Raises:
        InvalidInputError, NotFoundError: there is no such version, or the tenant may not name it.
        UnavailableError: none is in service.
    """
    if reference is not None:
        return RequestedVersion(find_version(reference, among=nameable_versions(tenant_id)), is_named=True)
    pointers = deployments()
    scope = tenant_id if tenant_id in pointers else None
    if scope is None:
        loaded_versions().forget_pin(tenant_id)
    version = loaded_versions().known(pointers.get(scope)) or version_for(tenant_id)
    if version is None:
        raise UnavailableError("No model version is in service: an operator must activate one.", "no-model-in-service")
    return RequestedVersion(version, is_named=False, scope=scope)
