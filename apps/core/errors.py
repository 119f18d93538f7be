"""The exceptions that services raise. Only ``apps.core.problems`` maps them to an HTTP status."""

from typing import ClassVar


class ChecxrayError(Exception):
    """A refused operation. The caller can act on its detail.

    Attributes:
        code: stable kebab-case name of the error.
        detail: what happened and what to do, without patient data.
        retry_after: seconds after which the same may be tried again, where they are known.
    """

    default_code: ClassVar[str] = "error"

    def __init__(self, detail: str, code: str | None = None, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.detail = detail
        self.code = code or self.default_code


class InvalidInputError(ChecxrayError):
    default_code = "invalid-input"


class NotFoundError(ChecxrayError):
    default_code = "not-found"


class WithdrawnError(ChecxrayError):
    """The object was there and was withdrawn."""

    default_code = "withdrawn"


class ConflictError(ChecxrayError):
    default_code = "conflict"


class RefusedByRuleError(ChecxrayError):
    """A rule of the tenant refuses the object; nothing of it is kept."""

    default_code = "refused-by-rule"


class UnprocessableError(ChecxrayError):
    """The request is well-formed, and contradicts an earlier one that it names."""

    default_code = "unprocessable"


class NotPermittedError(ChecxrayError):
    default_code = "not-permitted"


class TooLargeError(ChecxrayError):
    default_code = "too-large"


class UnsupportedTypeError(ChecxrayError):
    default_code = "unsupported-media-type"


class NotAcceptableError(ChecxrayError):
    """No representation of the object is of a type that the request accepts."""

    default_code = "not-acceptable"


class OutOfSpaceError(ChecxrayError):
    default_code = "out-of-space"


class UnavailableError(ChecxrayError):
    default_code = "unavailable"


class ObjectLostError(UnavailableError):
    """A stored object is missing, or has other bytes than were stored. Sending it again restores it.

    Code that waits for the end of a storage outage must not wait on this error: only the sender can repair it.
    """

    default_code = "object-damaged"


class TooManyRequestsError(ChecxrayError):
    default_code = "too-many-requests"
