"""C-CANCEL (PS3.7 9.3.2.3): the requests of an association that its peer has cancelled.

pynetdicom forgets a C-CANCEL that arrives before it begins to serve the request. Here the order of arrival counts.
"""

from typing import Any, Final

from pynetdicom import evt

# Command Field of the requests that can be cancelled: C-GET, C-FIND and C-MOVE (PS3.7 annex E).
_REQUESTS: Final = (0x0010, 0x0020, 0x0021)
_CANCEL: Final = 0x0FFF


def note_message(event: evt.Event) -> None:
    """Note a C-CANCEL as soon as it arrives; a new request with the same Message ID is not cancelled."""
    association: Any = event.assoc
    command: Any = event.message.command_set
    if command.CommandField == _CANCEL:
        association.cancelled.add(command.MessageIDBeingRespondedTo)
    elif command.CommandField in _REQUESTS:
        association.cancelled.discard(command.MessageID)


def is_cancelled(association: Any, request: Any) -> bool:
    """Whether a C-CANCEL for this request has arrived."""
    return request.MessageID in association.cancelled
