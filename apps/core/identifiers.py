"""Primary keys: UUID version 7 (RFC 9562), which sort by time.

Python makes them, because PostgreSQL before 18 has no function for them.
"""

from uuid import UUID

from uuid_utils import compat


def uuid7() -> UUID:
    return compat.uuid7()
