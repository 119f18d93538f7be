"""What a web process needs to answer ``/predict``: its loaded versions, and its limits on concurrent requests."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID

from django.conf import settings

from apps.core.errors import ConflictError, TooManyRequestsError, UnavailableError
from apps.deployment.selectors import deployments, nameable_versions
from apps.deployment.stops import AI_STOPPED, stops_for
from apps.inference.reader import ImageReader
from apps.inference.rendering import sandbox
from apps.inference.version_cache import DeploymentScope, LoadedVersion, Loading, VersionCache
from apps.registry.models import ModelVersion
from apps.registry.services import find_version


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


def _busy() -> UnavailableError:
    return UnavailableError("The service is busy with other requests; try again.", "busy")


@lru_cache(maxsize=1)
def version_cache() -> VersionCache:
    """The versions of this web process, on the CPU and without torch: a GPU is for the workers."""
    return VersionCache(device="cpu", threads=settings.PREDICT_THREADS, limit=settings.PREDICT_VERSIONS)


@lru_cache(maxsize=1)
def image_reader() -> ImageReader:
    """The reader of this web process, with the decoder processes that also draw the portal's pictures."""
    return ImageReader(sandbox())


@lru_cache(maxsize=1)
def predict_limits() -> PredictLimits:
    """The limits of this web process."""
    return PredictLimits(settings.PREDICT_AT_ONCE, settings.PREDICT_PENDING, settings.PREDICT_PENDING_PER_CALLER)


@dataclass(frozen=True)
class RequestedVersion:
    """The version for a request: one that the caller named, or else the one in service.

    Attributes:
        scope, pointers: where the caller named none, as in `VersionCache.in_service`.
    """

    version: ModelVersion
    is_named: bool
    scope: DeploymentScope = None
    pointers: Mapping[DeploymentScope, UUID] = field(default_factory=dict)

    def loaded(self, deadline: float, *, is_preprocessed: bool) -> LoadedVersion:
        """The version that answers. Where none was named, the former one answers until the one in service is loaded.

        Args:
            deadline: on the clock of ``time.monotonic``.
            is_preprocessed: whether the images are already in the input space of the version in service, so that a
                former version with another one must not answer.

        Raises:
            UnavailableError: no version that may answer was loaded before the deadline, or it cannot be loaded.
        """
        if self.is_named:
            return self._wait_for(version_cache().request(self.version), deadline)
        while True:
            found = version_cache().in_service(self.pointers, scopes=[self.scope])
            answering = found.versions.get(self.scope)
            if answering is not None and not (is_preprocessed and self._has_other_input(answering.version)):
                return answering
            if not found.loading:
                raise self._unusable()
            if not found.wait(max(0.0, deadline - time.monotonic())):
                raise self._still_loading()

    def _wait_for(self, loading: Loading, deadline: float) -> LoadedVersion:
        if not wait([loading], max(0.0, deadline - time.monotonic())).done:
            raise self._still_loading()
        try:
            return loading.result()
        # An artifact may fail in the storage, in its hash, in the runtime or in memory.
        except Exception as error:
            raise self._unusable() from error

    def _has_other_input(self, other: ModelVersion) -> bool:
        return bool(self.version.manifest["input_space"] != other.manifest["input_space"])

    def _still_loading(self) -> UnavailableError:
        return UnavailableError(f"{self.version} is being loaded for the first time; try again.", "model-loading")

    def _unusable(self) -> UnavailableError:
        detail = f"{self.version} cannot be loaded here; the operator finds the reason in the log."
        return UnavailableError(detail, "model-unusable")


def requested_version(reference: str | None, tenant_id: UUID) -> RequestedVersion:
    """The version that a caller names as ``name:number``, or else the version in service for its tenant.

    Raises:
        InvalidInputError, NotFoundError: there is no such version, or the tenant may not name it.
        ConflictError: the AI is stopped for the tenant.
        UnavailableError: none is in service.
    """
    stop = stops_for(tenant_id).whole
    if stop is not None:
        raise ConflictError(
            f"AI stopped since {stop.since:%Y-%m-%d %H:%M} UTC. An administrator of your hospital, or the operator, "
            "can start it again.",
            AI_STOPPED,
        )
    if reference is not None:
        return RequestedVersion(find_version(reference, among=nameable_versions(tenant_id)), is_named=True)
    pointers = deployments()
    scope = tenant_id if tenant_id in pointers else None
    if scope not in pointers:
        raise UnavailableError("No model version is in service: an operator must activate one.", "no-model-in-service")
    version = version_cache().find([pointers[scope]])[pointers[scope]]
    return RequestedVersion(version, is_named=False, scope=scope, pointers=pointers)
