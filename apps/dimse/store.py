"""C-STORE as SCP (PS3.4 annex B): ingest a received instance, and return the status of the response."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.db import DatabaseError, InterfaceError, close_old_connections

from apps.audit.services import Actor
from apps.core.errors import (
    ConflictError,
    InvalidInputError,
    OutOfSpaceError,
    RefusedByRuleError,
    TooLargeError,
    UnavailableError,
)
from apps.core.metrics import INSTANCES
from apps.dimse.part10 import spool_part10
from apps.dimse.requests import NOT_AUTHORISED, OUT_OF_RESOURCES, PROCESSING_FAILURE, SUCCESS
from apps.ingest.intake import ingest_instance, inspect_file
from apps.registry import engine
from apps.routing.selectors import Caller, admit_caller
from apps.studies.services import StoredInstance
from apps.studies.spool import open_spool

logger = logging.getLogger(__name__)
SOURCE = "dimse"

# PS3.4 table B.2-1 and PS3.7 annex C.
# The instance is stored, but its patient contradicts what is stored already.
COERCION_OF_DATA_ELEMENTS: Final = 0xB000
DUPLICATE_SOP_INSTANCE: Final = 0x0111
CANNOT_UNDERSTAND: Final = 0xC000


@dataclass(frozen=True)
class Arrival:
    """One C-STORE request with the file of its data set."""

    path: Path
    caller: Caller
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def store_arrival(arrival: Arrival) -> int:
    """Ingest one instance for the called tenant and return the response status (PS3.4 table B.2-1). Never raises."""
    try:
        stored = _ingest(arrival)
    except InvalidInputError as error:
        return engine.failure_reason(error.code)
    except ConflictError as error:
        return DUPLICATE_SOP_INSTANCE if error.code == "duplicate-with-other-content" else PROCESSING_FAILURE
    except (OutOfSpaceError, TooLargeError, UnavailableError, DatabaseError, InterfaceError) as error:
        # A peer keeps an instance that was refused with this status, and sends it again.
        logger.warning("An instance was refused because resources are missing: %s.", type(error).__name__)
        return OUT_OF_RESOURCES
    except (_NotAdmittedError, RefusedByRuleError):
        return NOT_AUTHORISED
    except ValueError:
        return CANNOT_UNDERSTAND
    except Exception as error:
        # One instance must not end the association. The exception's message may contain patient data.
        logger.error("An instance could not be ingested: %s.", type(error).__name__)
        return PROCESSING_FAILURE
    return COERCION_OF_DATA_ELEMENTS if stored.in_conflict else SUCCESS


class _NotAdmittedError(Exception):
    """The tenant was closed, or removed the peer, while the association was open."""


def _ingest(arrival: Arrival) -> StoredInstance:
    close_old_connections()
    admission = admit_caller(arrival.caller)
    tenant = admission.tenant
    if tenant is None or admission.peer_id is None:
        raise _NotAdmittedError
    with open_spool(arrival.path.stat().st_size) as spool:
        spooled = spool_part10(
            arrival.path,
            sop_class_uid=arrival.sop_class_uid,
            sop_instance_uid=arrival.sop_instance_uid,
            transfer_syntax_uid=arrival.transfer_syntax_uid,
            spool=spool,
        )
        inspected = inspect_file(spooled)
        try:
            by = Actor(name=f"dimse:{arrival.caller.calling}", address=str(arrival.caller.address))
            return ingest_instance(
                inspected, tenant_id=tenant.id, by=by, source=SOURCE, calling_ae_title=arrival.caller.calling
            )
        except (ConflictError, RefusedByRuleError):
            INSTANCES.labels(SOURCE, "refused").inc()
            raise
