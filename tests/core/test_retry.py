"""The retry policy: codes of exceptions, and pauses; the documentation has the same table."""

import re

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError

from apps.core.errors import ObjectLostError, OutOfSpaceError, UnavailableError
from apps.core.retry import FAILURES, LONGEST_WAIT_SECONDS, Failure, outage_of, pause_after_wait, waits
from apps.registry.engine import RETRYABLE
from tests.conftest import PROJECT_ROOT

_ROW = re.compile(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)


def follows(failure: Failure) -> str:
    if failure.max_waits is not None:
        return f"waits {failure.max_waits} times, then uses one attempt"
    return str(failure.handling)


def test_the_documentation_shows_the_table() -> None:
    shown = _ROW.findall((PROJECT_ROOT / "docs" / "production.md").read_text())
    assert shown == [(code, failure.cause, follows(failure)) for code, failure in FAILURES.items()]


def test_every_code_of_a_decoder_that_accuses_the_machine_has_a_policy() -> None:
    assert FAILURES.keys() >= RETRYABLE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnavailableError("away"), "storage-unavailable"),
        (ObjectLostError("lost"), None),
        (UnavailableError("cannot be loaded", "version-unusable"), None),
        (OperationalError("gone"), "database-unavailable"),
        (InterfaceError("connection already closed"), "database-unavailable"),
        (ProgrammingError("permission denied"), "database-unavailable"),
        (DataError("NUL"), None),
        (IntegrityError("twice"), None),
        (OutOfSpaceError("full"), None),
        (ValueError("a fault of ours"), None),
    ],
)
def test_what_an_exception_stands_for(error: Exception, code: str | None) -> None:
    assert outage_of(error) == code


def test_work_waits_longer_each_time_and_never_longer_than_a_minute() -> None:
    pauses = [pause_after_wait(times).total_seconds() for times in (0, 1, 3, 10, 10_000)]
    # The last two are both at the limit, where only the jitter differs.
    assert pauses[:-1] == sorted(pauses[:-1])
    assert pauses[0] <= 2
    assert 0.7 * LONGEST_WAIT_SECONDS <= pauses[-1] <= LONGEST_WAIT_SECONDS
    assert waits("storage-unavailable", 10_000)
    assert waits("decoder-ended", 9)
    assert not waits("decoder-ended", 10)
    assert not waits("inference-error", 0)
    assert not waits("a-code-of-tomorrow", 0)
