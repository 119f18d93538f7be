"""The retry policy: failed work waits for an outage to end, or it spends one of its attempts.

A failure of the infrastructure (storage, database, device, broker) is not caused by the image: the work waits, and no
attempt is spent however long the outage lasts. Every other failure spends an attempt. A refusal of the image is a
result and no failure; it is not listed here. ``docs/production.md`` shows this table, and a test compares the two.
"""

import datetime
import enum
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError

from apps.core.errors import UnavailableError

# The pause before the second and the third attempt.
ATTEMPT_PAUSE_SECONDS = (5.0, 30.0)
MAX_ATTEMPTS = len(ATTEMPT_PAUSE_SECONDS) + 1
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 60.0


class Handling(enum.StrEnum):
    WAITS = "waits"
    SPENDS_ATTEMPT = "spends an attempt"


@dataclass(frozen=True)
class Failure:
    """How one kind of failure is handled.

    Attributes:
        what: the cause, for people; a clause that follows "waiting: " or "AI result unavailable: ".
        longest: how many times in a row it may wait before it spends attempts; None: as long as the outage lasts.
    """

    handling: Handling
    what: str
    longest: int | None = None


FAILURES: Mapping[str, Failure] = MappingProxyType(
    {
        "storage-unavailable": Failure(Handling.WAITS, "the object storage does not answer"),
        "database-unavailable": Failure(Handling.WAITS, "the database does not answer"),
        "no-worker": Failure(Handling.WAITS, "no AI worker has a model loaded"),
        "device-failed": Failure(Handling.WAITS, "the AI worker's device failed"),
        "sandbox-unavailable": Failure(Handling.WAITS, "the AI worker cannot start a decoding process"),
        # The kernel ends the largest process when memory is short, and one image may be the cause: so not for ever.
        "decoder-ended": Failure(Handling.WAITS, "the decoding process was ended from outside", longest=10),
        "source-unreadable": Failure(Handling.SPENDS_ATTEMPT, "the stored image could not be read"),
        "inference-error": Failure(Handling.SPENDS_ATTEMPT, "the network failed on this image"),
        "write-error": Failure(Handling.SPENDS_ATTEMPT, "the result could not be stored"),
        "worker-lost": Failure(Handling.SPENDS_ATTEMPT, "the AI worker stopped while it read this study alone"),
    }
)
UNKNOWN = Failure(Handling.SPENDS_ATTEMPT, "the image could not be read")


def failure_of(code: str) -> Failure:
    return FAILURES.get(code, UNKNOWN)


def waits(code: str, times: int) -> bool:
    """Whether work that failed with this code waits without spending an attempt.

    Args:
        times: how many times in a row it has waited.
    """
    failure = failure_of(code)
    return failure.handling == Handling.WAITS and (failure.longest is None or times < failure.longest)


def outage_of(error: BaseException) -> str | None:
    """The code of the outage that an exception shows; None where the work itself may be the cause."""
    # The other codes are of errors that waiting does not repair, such as a lost object.
    if isinstance(error, UnavailableError) and error.code == UnavailableError.default_code:
        return "storage-unavailable"
    # A value that PostgreSQL refuses comes from the work; every other error of the database concerns all work.
    if isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, DataError | IntegrityError):
        return "database-unavailable"
    return None


def pause_after_wait(times: int) -> datetime.timedelta:
    """How long to wait for the end of an outage: 2 s, doubled each time, 60 s at most, with jitter."""
    seconds = min(FIRST_WAIT_SECONDS * 2 ** min(times, 10), LONGEST_WAIT_SECONDS)
    return datetime.timedelta(seconds=seconds * random.uniform(0.7, 1.0))


def pause_after_attempt(attempt: int, pauses: Sequence[float] = ATTEMPT_PAUSE_SECONDS) -> datetime.timedelta:
    """The pause after a spent attempt, counted from one, with jitter.

    Args:
        pauses: in seconds, one for each attempt but the last.
    """
    return datetime.timedelta(seconds=pauses[min(attempt, len(pauses)) - 1] * random.uniform(1.0, 1.1))
