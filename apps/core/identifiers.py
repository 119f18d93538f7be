"""Primary keys: UUID version 7 (RFC 9562), which sort by time. Made here because PostgreSQL before 18 cannot."""

from uuid import UUID

from uuid_utils import compat


def uuid7() -> UUID:
    return compat.uuid7()
