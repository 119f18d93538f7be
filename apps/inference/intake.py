"""One door for every film, whatever brought it: judge the bytes, store them, ask for their reading."""

from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError

from apps.audit.services import Actor
from apps.core.errors import InvalidInputError
from apps.core.metrics import INSTANCES
from apps.inference.fairness import priority_of
from apps.inference.services import request_again_if_failed, request_inference
from apps.registry import engine
from apps.studies.services import StoredInstance, store_instance
from apps.studies.spool import SpooledFile
from apps.tenants.scope import tenant_tx


@dataclass(frozen=True)
class InspectedFile:
    """A spooled file that the preflight accepted."""

    spooled: SpooledFile
    found: engine.Preflight


def inspect_file(spooled: SpooledFile) -> InspectedFile:
    """Judge the bytes without decoding them and without a transaction.

    Raises:
        InvalidInputError: ``code`` is one of ``ml.errors.CODES``.
    """
    try:
        return InspectedFile(spooled, engine.inspect(spooled.path))
    except engine.InputRejected as error:
        INSTANCES.labels("preflight", "refused").inc()
        raise InvalidInputError(error.detail, error.code) from error


def take_in(inspected: InspectedFile, *, tenant_id: UUID, by: Actor, source: str) -> StoredInstance:
    """Store an inspected instance for a tenant and queue its study, all or nothing.

    Inside the tenant's transaction this is a savepoint, elsewhere a transaction of its own.

    Raises:
        ConflictError, OutOfSpaceError, UnavailableError
    """
    try:
        with tenant_tx(tenant_id):
            stored = _store_and_queue(inspected, by)
    except IntegrityError:
        # Another request was faster; now its instance is known.
        with tenant_tx(tenant_id):
            stored = _store_and_queue(inspected, by)
    INSTANCES.labels(source, "stored" if stored.is_new else "known").inc()
    return stored


def _store_and_queue(inspected: InspectedFile, by: Actor) -> StoredInstance:
    stored = store_instance(spooled=inspected.spooled, found=inspected.found, by=by)
    if stored.is_new:
        request_inference(study_id=stored.study_id, priority=priority_of(inspected.found.attributes))
    else:
        request_again_if_failed(study_id=stored.study_id)
    return stored
