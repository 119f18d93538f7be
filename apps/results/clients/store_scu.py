"""C-ECHO and C-STORE as SCU (PS3.4 annexes A and B)."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom import uid
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from apps.core.errors import ChecxrayError
from apps.inference.objects import explicit_le, implicit_le
from apps.results.clients.association import PeerError, RemoteNode, associated
from apps.routing.models import PeerProblem
from apps.studies.storage import local_path

VERIFICATION: Final = uid.UID("1.2.840.10008.1.1")
# What an instance is converted to where the peer does not take it as it is stored, the better first.
CONVERTED: Final = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
# PS3.7 annex C: our own statuses for instances that a peer never answered, or that could not be offered to it.
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
PROCESSING_FAILURE: Final = 0x0110
NO_RESPONSE: Final = 0xC001
_MAX_CONTEXTS: Final = 128
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000)})


@dataclass(frozen=True)
class OutgoingInstance:
    """A stored object to send.

    Attributes:
        object_key: where its Part 10 file is (`apps.studies.storage`).
        size: of that file in bytes.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    object_key: str
    size: int


@dataclass(frozen=True)
class StoreOutcome:
    """The result for one instance.

    Attributes:
        status: of the C-STORE response, or one of this module's where there was none (PS3.4 table B.2-1).
        comment: the peer's error comment, or our reason; it may contain patient data, so it is never logged.
    """

    instance: OutgoingInstance
    status: int
    comment: str = ""

    @property
    def is_stored(self) -> bool:
        return self.status == 0x0000 or self.is_warning

    @property
    def is_warning(self) -> bool:
        """Stored, with a remark of the peer."""
        return self.status in _WARNINGS


@dataclass(frozen=True)
class MoveOriginator:
    """The application that asked for the instances by C-MOVE, and the Message ID of its request."""

    ae_title: str
    message_id: int


def echo(node: RemoteNode) -> None:
    """Ask the peer for a C-ECHO.

    Raises:
        PeerError: it did not answer, or not with success.
    """
    with associated(node, [build_context(VERIFICATION)]) as association:
        answer: Any = association.send_c_echo()
        if getattr(answer, "Status", None) != 0x0000:
            raise PeerError(PeerProblem.ABORTED)


def send_instances(
    node: RemoteNode, instances: Sequence[OutgoingInstance], *, originator: MoveOriginator | None = None
) -> Generator[StoreOutcome]:
    """Send instances one after the other and report each as it is done, in this order.

    An instance goes as it is stored where the peer accepts that, otherwise in Explicit or Implicit VR Little Endian.
    Several associations are opened where one cannot have as many presentation contexts.

    Raises:
        PeerError: the peer cannot be reached, or accepts no association. What was reported before stays done.
    """
    for batch in _batches(instances):
        contexts = [build_context(*each) for each in sorted(_wanted(batch))]
        try:
            with associated(node, contexts) as association:
                for number, instance in enumerate(batch, 1):
                    yield send_instance(association, instance, message_id=number % 0xFFFF + 1, originator=originator)
        except PeerError as error:
            if error.problem is not PeerProblem.NO_CONTEXT:
                raise
            yield from (StoreOutcome(each, SOP_CLASS_NOT_SUPPORTED, _NOT_ACCEPTED) for each in batch)


_NOT_ACCEPTED: Final = "No presentation context for this SOP class was accepted."


def send_instance(
    association: Association, instance: OutgoingInstance, *, message_id: int, originator: MoveOriginator | None = None
) -> StoreOutcome:
    """Send one instance in an association whose contexts are negotiated."""
    syntax = choose_syntax(instance, association.accepted_contexts)
    if syntax is None:
        return StoreOutcome(instance, SOP_CLASS_NOT_SUPPORTED, _NOT_ACCEPTED)
    if not association.is_established:
        return StoreOutcome(instance, NO_RESPONSE, "The peer ended the association.")
    try:
        with opened(instance, syntax) as path:
            answer: Any = association.send_c_store(
                path,
                msg_id=message_id,
                originator_aet=originator.ae_title if originator else None,
                originator_id=originator.message_id if originator else None,
            )
    except ChecxrayError as error:
        return StoreOutcome(instance, PROCESSING_FAILURE, error.detail)
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        # The connection ended meanwhile, or the file's meta information cannot be read.
        return StoreOutcome(instance, NO_RESPONSE, f"It could not be sent ({type(error).__name__}).")
    status = getattr(answer, "Status", None)
    if status is None:
        return StoreOutcome(instance, NO_RESPONSE, "The peer did not answer.")
    return StoreOutcome(instance, int(status), str(getattr(answer, "ErrorComment", "") or ""))


def choose_syntax(instance: OutgoingInstance, accepted: Iterable[PresentationContext]) -> str | None:
    """The transfer syntax to send an instance in; None where no context was accepted for its SOP class."""
    possible = {
        str(context.transfer_syntax[0])
        for context in accepted
        if context.abstract_syntax == instance.sop_class_uid and context.as_scu
    }
    return next((each for each in (instance.transfer_syntax_uid, *CONVERTED) if each in possible), None)


@contextmanager
def opened(instance: OutgoingInstance, syntax: str) -> Iterator[Path]:
    """The instance as a Part 10 file in a transfer syntax: the stored one, or one of `CONVERTED`.

    Raises:
        InvalidInputError: it cannot be converted.
        ObjectLostError, OutOfSpaceError, UnavailableError
    """
    if syntax == instance.transfer_syntax_uid:
        file = local_path(instance.object_key)
    elif syntax == uid.ExplicitVRLittleEndian:
        file = explicit_le(instance)
    else:
        file = implicit_le(instance)
    with file as path:
        yield path


def _wanted(instances: Iterable[OutgoingInstance]) -> set[tuple[str, str]]:
    """SOP class and transfer syntax of each context: a context for each syntax shows all that the peer takes."""
    return {
        (each.sop_class_uid, syntax)
        for each in instances
        for syntax in (each.transfer_syntax_uid, *map(str, CONVERTED))
    }


def _batches(instances: Sequence[OutgoingInstance]) -> Iterator[list[OutgoingInstance]]:
    """The instances in lists that need no more contexts than one association can have (PS3.8 9.3.2.2)."""
    batch: list[OutgoingInstance] = []
    contexts: set[tuple[str, str]] = set()
    for each in instances:
        contexts |= _wanted([each])
        if len(contexts) > _MAX_CONTEXTS:
            yield batch
            batch, contexts = [], _wanted([each])
        batch.append(each)
    if batch:
        yield batch
