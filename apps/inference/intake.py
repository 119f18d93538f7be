"""One door for every film, whatever brought it: judge the bytes, store them, ask for their reading."""

from dataclasses import dataclass

from apps.audit.services import Actor
from apps.core.errors import InvalidInputError
from apps.core.metrics import INSTANCES
from apps.inference.services import request_again_if_failed, request_inference
from apps.registry import engine
from apps.studies.services import StoredInstance, store_instance
from apps.studies.spool import SpooledFile


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


def take_in(inspected: InspectedFile, *, by: Actor, source: str) -> StoredInstance:
    """Store an inspected instance for the tenant in force and queue its study.

    Raises:
        ConflictError, OutOfSpaceError, UnavailableError
    """
    stored = store_instance(spooled=inspected.spooled, found=inspected.found, by=by)
    if stored.is_new:
        request_inference(study=stored.study)
    else:
        request_again_if_failed(study=stored.study)
    INSTANCES.labels(source, "stored" if stored.is_new else "known").inc()
    return stored
