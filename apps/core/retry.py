"""The retry policy: failed work waits for an outage to end, or it uses one of its attempts.

A failure of the infrastructure (storage, database, device, broker) is not caused by the image: the work waits, and no
attempt is used however long the outage lasts. Every other failure uses one attempt. A refusal of the image is a
result, not a failure, so it is not listed here. ``docs/production.md`` shows this table, and a test compares the two.
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
    USES_ATTEMPT = "uses one attempt"


@dataclass(frozen=True)
class Failure:
    """How one kind of failure is handled.

    Attributes:
        cause: for people; a clause that follows "waiting: " or "AI result unavailable: ".
        max_waits: how many times in a row it may wait before it uses attempts; None: as long as the outage lasts.
    """

    handling: Handling
    cause: str
    max_waits: int | None = None


FAILURES: Mapping[str, Failure] = MappingProxyType(
    {
        "storage-unavailable": Failure(Handling.WAITS, "the object storage does not answer"),
        "database-unavailable": Failure(Handling.WAITS, "the database does not answer"),
        "no-worker": Failure(Handling.WAITS, "no inference worker has a model loaded"),
        "device-failed": Failure(Handling.WAITS, "the inference worker's device failed"),
        "sandbox-unavailable": Failure(Handling.WAITS, "the inference worker cannot start a decoding process"),
        # The kernel ends the largest process when memory is short. One image may be the cause, so the number of waits
        # is limited.
        "decoder-ended": Failure(Handling.WAITS, "the decoding process was ended from outside", max_waits=10),
        "source-unreadable": Failure(Handling.USES_ATTEMPT, "the stored image could not be read"),
        "inference-error": Failure(Handling.USES_ATTEMPT, "the network failed on this image"),
        "write-error": Failure(Handling.USES_ATTEMPT, "the result could not be stored"),
        "worker-lost": Failure(Handling.USES_ATTEMPT, "the inference worker stopped while it read only this study"),
    }
)
UNLISTED_FAILURE = Failure(Handling.USES_ATTEMPT, "the image could not be read")


def failure_of(code: str) -> Failure:
    return FAILURES.get(code, UNLISTED_FAILURE)


def waits(code: str, times: int) -> bool:
    """Whether work that failed with this code waits without using an attempt.

    Args:
        times: how many times in a row it has waited.
    """
    failure = failure_of(code)
    return failure.handling == Handling.WAITS and (failure.max_waits is None or times < failure.max_waits)


def outage_of(error: BaseException) -> str | None:
    """The code of the outage that an exception shows; None where the work itself may be the cause."""
    # The other codes name errors that do not end by waiting, for example a lost object.
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
    """The pause after a used attempt, counted from one, with jitter.

    Args:
        pauses: in seconds, one for each attempt but the last.
    """
    return datetime.timedelta(seconds=pauses[min(attempt, len(pauses)) - 1] * random.uniform(1.0, 1.1))
