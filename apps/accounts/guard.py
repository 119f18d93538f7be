"""Limits against password guessing, applied before a password is hashed.

There are two limits, both counted from the first failure on: failures of one account from one address, and failures of
one address over all accounts. After the first limit the user can still sign in from another address; it also leaves
other users of the same address unaffected.

We compared two libraries. django-axes has one limit for all its parameters, and counts a failure only after the
password was hashed, so parallel guesses pass it. django-allauth limits an account from all addresses together, so
that anyone could lock another user out. This module can be combined with allauth, whose backend extends Django's.
"""

from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import User
from apps.audit.models import SecurityEvent
from apps.audit.services import record_security_event
from apps.core import rate_limits
from apps.core.client_address import network_of
from apps.core.errors import TooManyRequestsError


@dataclass(frozen=True)
class Attempt:
    """An attempt to sign in that is within the limits. It is counted as failed until it succeeds."""

    email: str
    address: str | None
    account_key: str
    address_key: str

    def succeeded(self) -> None:
        """Reset the account's failures from this address, and take this attempt off the address's count."""
        rate_limits.reset(self.account_key)
        rate_limits.add(self.address_key, settings.SIGN_IN_WINDOW_SECONDS, -1)

    def was_not_tried(self) -> None:
        """Take the attempt back: no password was compared."""
        rate_limits.add(self.account_key, settings.SIGN_IN_WINDOW_SECONDS, -1)
        rate_limits.add(self.address_key, settings.SIGN_IN_WINDOW_SECONDS, -1)

    def failed(self) -> None:
        _record(SecurityEvent.Action.SIGN_IN_FAILED, self.email, self.address)


def begin_attempt(*, email: str, address: str | None) -> Attempt:
    """Count an attempt before anything is hashed.

    The answer and the work are the same whether the account exists or not.

    Raises:
        TooManyRequestsError: one of the limits is reached; ``retry_after`` has the seconds.
    """
    email = email.strip().lower()
    place = network_of(address)
    account_key = rate_limits.key_of("sign-in", email, place)
    address_key = rate_limits.key_of("sign-in-address", place)
    window = settings.SIGN_IN_WINDOW_SECONDS
    of_account = rate_limits.add(account_key, window)
    if of_account.number > settings.SIGN_IN_FAILURES_PER_ACCOUNT:
        _record_throttled(of_account.number - settings.SIGN_IN_FAILURES_PER_ACCOUNT, email, address)
        raise _refused(_("this account from your address"), of_account)
    of_address = rate_limits.add(address_key, window)
    if of_address.number > settings.SIGN_IN_FAILURES_PER_ADDRESS:
        # Nothing is tried, so the account's own count stays as it was.
        rate_limits.add(account_key, window, -1)
        _record_throttled(of_address.number - settings.SIGN_IN_FAILURES_PER_ADDRESS, email, address)
        raise _refused(_("your address"), of_address)
    return Attempt(email=email, address=address, account_key=account_key, address_key=address_key)


def attempts_per_line(number: int) -> int:
    """How many attempts an audit line counts: the 1st, 2nd, 4th, 8th … has a line, the others (0) have none."""
    return number - number // 2 if number > 0 and number & (number - 1) == 0 else 0


def _refused(what: str, count: rate_limits.Count) -> TooManyRequestsError:
    minutes = -(-count.seconds_left // 60)
    return TooManyRequestsError(
        ngettext(
            "There were too many failed attempts for %(what)s. Try again in %(minutes)s minute. If you have lost your "
            "password, ask the administrator of your hospital for a new one.",
            "There were too many failed attempts for %(what)s. Try again in %(minutes)s minutes. If you have lost your "
            "password, ask the administrator of your hospital for a new one.",
            minutes,
        )
        % {"what": what, "minutes": minutes},
        "sign-in-throttled",
        retry_after=count.seconds_left,
    )


def _record_throttled(number: int, email: str, address: str | None) -> None:
    if amount := attempts_per_line(number):
        _record(SecurityEvent.Action.SIGN_IN_THROTTLED, email, address, amount)


def _record(action: SecurityEvent.Action, email: str, address: str | None, amount: int = 1) -> None:
    user_id: UUID | None = User.objects.filter(email=email).values_list("pk", flat=True).first()
    record_security_event(action=action, address=address, user_id=user_id, amount=amount)
