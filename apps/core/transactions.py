"""Transactions that run again after a deadlock."""

from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError

ATTEMPTS = 3
_DEADLOCK, _SERIALIZATION = "40P01", "40001"
_T = TypeVar("_T")


def again_after_deadlock(transact: Callable[[], _T]) -> _T:
    """Run a whole transaction, and again where PostgreSQL ended it because of a deadlock; ``ATTEMPTS`` times in all."""
    for _ in range(ATTEMPTS - 1):
        try:
            return transact()
        except OperationalError as error:
            if getattr(error.__cause__, "pgcode", None) not in (_DEADLOCK, _SERIALIZATION):
                raise
    return transact()
