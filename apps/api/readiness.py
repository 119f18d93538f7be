"""Whether this process can serve: each part is asked, in bounded time, and says what to do where it fails."""

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

PATIENCE_SECONDS = 1.2
CACHE_SECONDS = 3.0
_FULL_BYTES = 64 * 1024 * 1024
_NO_DATABASE = "The database does not answer: check that it runs and is migrated, and DATABASE_URL."
_NO_BROKER = "The broker does not answer: check that it runs, and REDIS_URL."
_NO_STORAGE = "The object storage does not answer, or refuses: check that it runs, S3_* and AWS_*."
_EVICTS = (
    "The broker may evict messages when its memory is full (maxmemory-policy {}): set maxmemory-policy to noeviction."
)


@dataclass(frozen=True)
class Check:
    ok: bool
    detail: str = ""


@dataclass
class Readiness:
    """What was found: a warning does not keep the process from serving."""

    checks: dict[str, Check]
    warnings: list[str] = field(default_factory=list)


class _Question:
    """One part, asked on a thread of its own: a part that hangs keeps that thread, and is not asked again meanwhile."""

    def __init__(self, ask: Callable[[], Readiness]) -> None:
        self._ask = ask
        self._answered = threading.Event()
        self._answer: Readiness | None = None
        # A daemon, so that a part that hangs does not keep the process from ending.
        threading.Thread(target=self._run, name="readiness", daemon=True).start()

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        finally:
            connections.close_all()
            self._answered.set()

    @property
    def is_over(self) -> bool:
        return self._answered.is_set()

    def answer(self, until: float) -> Readiness | None:
        self._answered.wait(max(0.0, until - time.monotonic()))
        return self._answer


_lock = threading.Lock()
_questions: dict[str, _Question] = {}
_latest: tuple[float, Readiness] | None = None


def readiness() -> Readiness:
    """Every part that a study needs on its way, as of a few seconds ago at most.

    It never takes longer than `PATIENCE_SECONDS`, whatever hangs. No detail holds a secret, an address or a patient.
    """
    global _latest
    with _lock:
        if _latest is None or time.monotonic() - _latest[0] > CACHE_SECONDS:
            found = _ask_all()
            _latest = time.monotonic(), found
        return _latest[1]


def forget() -> None:
    """Let the next call ask again."""
    global _latest
    with _lock:
        _latest = None


def _ask_all() -> Readiness:
    silent = {
        "database": Readiness({"database": Check(False, _NO_DATABASE), "worker": _UNKNOWN}),
        "broker": Readiness({"broker": Check(False, _NO_BROKER)}),
        "storage": Readiness({"storage": Check(False, _NO_STORAGE)}),
    }
    asked = {"database": _ask_database, "broker": _ask_broker, "storage": _ask_storage}
    for name, ask in asked.items():
        if name not in _questions or _questions[name].is_over:
            _questions[name] = _Question(ask)
    until = time.monotonic() + PATIENCE_SECONDS
    found = Readiness({})
    for name in asked:
        answer = _questions[name].answer(until) or silent[name]
        found.checks |= answer.checks
        found.warnings += answer.warnings
    found.warnings += engine.missing_protections()
    return found


_UNKNOWN = Check(False, "Unknown, because the database does not answer.")


def _ask_database() -> Readiness:
    try:
        check_roles()
        return Readiness({"database": Check(True), "worker": _worker()}, _waiting())
    except ImproperlyConfigured as error:
        return Readiness({"database": Check(False, str(error)), "worker": _UNKNOWN})
    except DatabaseError:
        return Readiness({"database": Check(False, _NO_DATABASE), "worker": _UNKNOWN})


def _worker() -> Check:
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
    return f"Workers that cannot load a version which they should hold: {refusing}. See Workers in the console."


def _ask_broker() -> Readiness:
    try:
        policy = _eviction_policy()
    # Each broker has an error tree of its own, and its messages may hold addresses.
    except Exception:
        return Readiness({"broker": Check(False, _NO_BROKER)})
    warnings = [] if policy == "noeviction" else [_EVICTS.format(policy)]
    return Readiness({"broker": Check(True)}, warnings)


def _eviction_policy() -> str:
    with broker.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=1)
        # Managed services refuse CONFIG; INFO says the same.
        found = connection.default_channel.client.info("memory").get("maxmemory_policy", "noeviction")
    return str(found)


def _ask_storage() -> Readiness:
    try:
        detail = _storage_problem()
    # Each S3 client has an error tree of its own, and its messages may hold addresses.
    except Exception:
        detail = _NO_STORAGE
    return Readiness({"storage": Check(not detail, detail)})


def _storage_problem() -> str:
    """What is wrong with the storage; it is looked at, and nothing is written to it."""
    default_storage.exists("health/readiness")
    # A proxy of Django stands in front of the storage itself.
    storage: object = default_storage._wrapped  # type: ignore[attr-defined]
    if not isinstance(storage, FileSystemStorage):
        return ""
    folder = Path(storage.location)
    # It is made when the first object is stored.
    existing = folder if folder.exists() else folder.parent
    if not existing.is_dir():
        return "The folder of the objects is missing: check that its disk is mounted."
    if shutil.disk_usage(existing).free < _FULL_BYTES:
        return "The disk of the objects is full: make room on it."
    return ""
