"""Readiness checks of database, broker, storage and workers, in bounded time, with advice where one fails."""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import DatabaseError, connections

from apps.core.wake_up import broker
from apps.inference.selectors import oldest_outage, refusing_workers, serving_workers
from apps.registry import engine
from apps.tenants.checks import check_roles

TIMEOUT_SECONDS = 1.2
CACHE_SECONDS = 3.0
_MIN_FREE_BYTES = 64 * 1024 * 1024
_NO_DATABASE = "The database does not answer: check that it runs and is migrated, and DATABASE_URL."
_NO_BROKER = "The broker does not answer: check that it runs, and REDIS_URL."
_NO_STORAGE = "The object storage does not answer, or refuses the request: check that it runs, and S3_* and AWS_*."
_EVICTS = (
    "The broker may evict messages when its memory is full (maxmemory-policy {}): set maxmemory-policy to noeviction."
)


@dataclass(frozen=True)
class Check:
    ok: bool
    detail: str = ""


@dataclass
class Readiness:
    """The results of the checks. A process with warnings can serve."""

    checks: dict[str, Check]
    warnings: list[str] = field(default_factory=list)


class _RunningCheck:
    """One check in a thread of its own. While a dependency hangs, its thread stays and no second one is started."""

    def __init__(self, check: Callable[[], Readiness]) -> None:
        self._check = check
        self._done = threading.Event()
        self._result: Readiness | None = None
        # A daemon thread, so that a dependency that hangs does not keep the process from ending.
        threading.Thread(target=self._run, name="readiness", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._check()
        finally:
            connections.close_all()
            self._done.set()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def result(self, deadline: float) -> Readiness | None:
        self._done.wait(max(0.0, deadline - time.monotonic()))
        return self._result


_lock = threading.Lock()
_running: dict[str, _RunningCheck] = {}
_latest: tuple[float, Readiness] | None = None


def readiness() -> Readiness:
    """Check every dependency; the result is cached for a few seconds.

    It never takes longer than `TIMEOUT_SECONDS`. No detail contains a secret, an address or patient data.
    """
    global _latest
    with _lock:
        if _latest is None or time.monotonic() - _latest[0] > CACHE_SECONDS:
            found = _check_all()
            _latest = time.monotonic(), found
        return _latest[1]


def reset_cache() -> None:
    """Let the next call run the checks again."""
    global _latest
    with _lock:
        _latest = None


def _check_all() -> Readiness:
    without_answer = {
        "database": Readiness({"database": Check(False, _NO_DATABASE), "worker": _UNKNOWN}),
        "broker": Readiness({"broker": Check(False, _NO_BROKER)}),
        "storage": Readiness({"storage": Check(False, _NO_STORAGE)}),
    }
    checks = {"database": _check_database, "broker": _check_broker, "storage": _check_storage}
    for name, check in checks.items():
        if name not in _running or _running[name].is_done:
            _running[name] = _RunningCheck(check)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    found = Readiness({})
    for name in checks:
        result = _running[name].result(deadline) or without_answer[name]
        found.checks |= result.checks
        found.warnings += result.warnings
    found.warnings += engine.missing_protections()
    return found


_UNKNOWN = Check(False, "Unknown, because the database does not answer.")


def _check_database() -> Readiness:
    try:
        check_roles()
        return Readiness({"database": Check(True), "worker": _check_worker()}, _waiting())
    except ImproperlyConfigured as error:
        return Readiness({"database": Check(False, str(error)), "worker": _UNKNOWN})
    except DatabaseError:
        return Readiness({"database": Check(False, _NO_DATABASE), "worker": _UNKNOWN})


def _check_worker() -> Check:
    if serving_workers().exists():
        return Check(True, _refusals())
    return Check(
        False, "No inference worker has a model loaded: start one, and activate a version (manage.py activate_model)."
    )


def _waiting() -> list[str]:
    outage = oldest_outage()
    return [f"Studies that wait for the end of an outage: {outage[1]}. {outage[0]}"] if outage else []


def _refusals() -> str:
    refusing = refusing_workers()
    if not refusing:
        return ""
    return f"Inference workers that cannot load a version that they need: {refusing}. See Workers in the console."


def _check_broker() -> Readiness:
    try:
        policy = _eviction_policy()
    # Each broker client has its own exceptions, and their messages may contain addresses.
    except Exception:
        return Readiness({"broker": Check(False, _NO_BROKER)})
    warnings = [] if policy == "noeviction" else [_EVICTS.format(policy)]
    return Readiness({"broker": Check(True)}, warnings)


def _eviction_policy() -> str:
    with broker.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=1)
        # Managed services refuse CONFIG; INFO has the same value.
        found = connection.default_channel.client.info("memory").get("maxmemory_policy", "noeviction")
    return str(found)


def _check_storage() -> Readiness:
    try:
        detail = _storage_problem()
    # Each S3 client has its own exceptions, and their messages may contain addresses.
    except Exception:
        detail = _NO_STORAGE
    return Readiness({"storage": Check(not detail, detail)})


def _storage_problem() -> str:
    """The problem of the storage, or an empty text; the check writes nothing."""
    default_storage.exists("health/readiness")
    # `default_storage` is a lazy proxy of the storage.
    storage: object = default_storage._wrapped  # type: ignore[attr-defined]
    if not isinstance(storage, FileSystemStorage):
        return ""
    folder = Path(storage.location)
    # The folder is created when the first object is stored.
    existing = folder if folder.exists() else folder.parent
    if not existing.is_dir():
        return "The folder of the objects is missing: check that its disk is mounted."
    if shutil.disk_usage(existing).free < _MIN_FREE_BYTES:
        return "The disk of the object storage is full: free some space."
    return ""
