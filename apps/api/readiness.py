"""Whether this process can serve: each part is asked, in bounded time, and says what to do where it fails."""

import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError

from apps.core.queue import broker
from apps.inference.selectors import refusing_workers, serving_workers
from apps.tenants.checks import check_roles

_PATIENCE_SECONDS = 4.0
# A part that hangs keeps its thread; with all of them hanging the answer is still given, and is "no".
_threads = ThreadPoolExecutor(4, thread_name_prefix="readiness")


@dataclass(frozen=True)
class Check:
    ok: bool
    detail: str = ""


def readiness() -> dict[str, Check]:
    """Every part that a study needs on its way. No detail holds a secret, an address or a patient."""
    broker_answer = _threads.submit(_ask_broker)
    storage_answer = _threads.submit(_ask_storage)
    return {
        "database": _database(),
        "broker": _outcome(broker_answer, "The broker does not answer: check that it runs, and REDIS_URL."),
        "storage": _outcome(
            storage_answer, "The object storage does not take and give files: check its disk, S3_* and AWS_*."
        ),
        "worker": _worker(),
    }


def _database() -> Check:
    try:
        check_roles()
    except ImproperlyConfigured as error:
        return Check(False, str(error))
    except DatabaseError:
        return Check(False, "The database does not answer: check that it runs and is migrated, and DATABASE_URL.")
    return Check(True)


def _worker() -> Check:
    try:
        if serving_workers().exists():
            return Check(True, _refusals())
    except (DatabaseError, ImproperlyConfigured):
        return Check(False, "Unknown, because the database does not answer.")
    return Check(
        False, "No inference worker has a model loaded: start one, and activate a version (manage.py activate_model)."
    )


def _refusals() -> str:
    refusing = refusing_workers()
    if not refusing:
        return ""
    return f"Workers that cannot load a version which they should hold: {refusing}. See Workers in the console."


def _ask_broker() -> None:
    with broker.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=2)


def _ask_storage() -> None:
    content = uuid.uuid4().bytes
    name = default_storage.save(f"health/{uuid.uuid4()}", ContentFile(content))
    try:
        with default_storage.open(name, "rb") as stored:
            if stored.read() != content:
                raise OSError("The storage gave back something else.")
    finally:
        default_storage.delete(name)


def _outcome(answer: "Future[None]", remedy: str) -> Check:
    try:
        answer.result(_PATIENCE_SECONDS)
    # Each broker and each S3 client has an error tree of its own, and their messages may hold addresses.
    except (FutureTimeoutError, Exception):
        answer.cancel()
        return Check(False, remedy)
    return Check(True)
