"""C-STORE as SCP (PS3.4 annex B): the received file through the same door as every other film, and an honest status."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.db import DatabaseError, close_old_connections

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, OutOfSpaceError, TooLargeError, UnavailableError
from apps.core.metrics import INSTANCES
from apps.dimse.part10 import spool_part10
from apps.inference.intake import inspect_file, take_in
from apps.registry import engine
from apps.studies.spool import open_spool
from apps.tenants.models import Tenant

logger = logging.getLogger(__name__)
SOURCE = "dimse"

# PS3.4 table B.2-1 and PS3.7 annex C.
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
NOT_AUTHORISED: Final = 0x0124
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000


@dataclass(frozen=True)
class Arrival:
    """One C-STORE request whose data set lies on this machine."""

    path: Path
    called_ae_title: str
    calling_ae_title: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def find_tenant(ae_title: str) -> Tenant | None:
    """The active tenant that is called by this AE title."""
    close_old_connections()
    return Tenant.objects.filter(ae_title=ae_title, is_active=True).first()


def store(arrival: Arrival) -> int:
    """Take one instance in for the tenant that was called; the status to answer with. Never raises."""
    try:
        _take_in(arrival)
    except InvalidInputError as error:
        return engine.failure_reason(error.code)
    except ConflictError as error:
        return DUPLICATE_SOP_INSTANCE if error.code == "duplicate-with-other-content" else PROCESSING_FAILURE
    except (OutOfSpaceError, TooLargeError, UnavailableError, DatabaseError) as error:
        # The peer keeps what was refused for want of resources, and sends it again.
        logger.warning("An instance was refused for want of resources: %s.", type(error).__name__)
        return OUT_OF_RESOURCES
    except _UnknownTenantError:
        return NOT_AUTHORISED
    except ValueError:
        return CANNOT_UNDERSTAND
    except Exception as error:
        # One film must not end the association that brings the next; the message may hold what the film holds.
        logger.error("An instance could not be taken in: %s.", type(error).__name__)
        return PROCESSING_FAILURE
    return SUCCESS


class _UnknownTenantError(Exception):
    """The tenant was closed while the association lasted."""


def _take_in(arrival: Arrival) -> None:
    tenant = find_tenant(arrival.called_ae_title)
    if tenant is None:
        raise _UnknownTenantError
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
            by = Actor(name=f"dimse:{arrival.calling_ae_title}")
            take_in(inspected, tenant_id=tenant.id, by=by, source=SOURCE)
        except ConflictError:
            INSTANCES.labels(SOURCE, "refused").inc()
            raise
