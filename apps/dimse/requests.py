"""Who asks for a service in an association, and how a request is refused."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from apps.audit.services import Actor
from apps.routing.selectors import Caller, admit_caller
from apps.tenants.models import Tenant

# PS3.7 annex C, and PS3.4 C.4.1.1.4, C.4.2.1.5 and C.4.3.1.4.
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
NOT_AUTHORISED: Final = 0x0124
OUT_OF_RESOURCES: Final = 0xA700
DESTINATION_UNKNOWN: Final = 0xA801
IDENTIFIER_MISMATCH: Final = 0xA900
CANCELLED: Final = 0xFE00
PENDING: Final = 0xFF00
# A key of the request is not supported.
PENDING_WITH_WARNING: Final = 0xFF01
# The VR LO of an Error Comment.
_LONGEST_COMMENT: Final = 64


class RefusedError(Exception):
    """A request that is not carried out: the status of the response, and its Error Comment without patient data."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment[:_LONGEST_COMMENT]


@dataclass(frozen=True)
class Requester:
    """An admitted peer, for one request."""

    tenant: Tenant
    peer_id: UUID
    by: Actor


def admit_request(caller: Caller, *, to_read: bool) -> Requester:
    """The peer behind a caller, looked up again for each request, as the list of peers may change meanwhile.

    Args:
        to_read: whether the request finds or retrieves, which a peer that may only send may not.

    Raises:
        RefusedError: it may not.
    """
    admission = admit_caller(caller)
    if admission.tenant is None or admission.peer_id is None:
        raise RefusedError(NOT_AUTHORISED, "This application is not listed any more.")
    if to_read and admission.is_send_only:
        raise RefusedError(NOT_AUTHORISED, "This application may only send.")
    by = Actor(name=f"dimse:{caller.calling}", address=str(caller.address))
    return Requester(admission.tenant, admission.peer_id, by)
