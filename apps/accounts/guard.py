"""Guessing of passwords, stopped before a password is hashed.

Two limits, both counted from the first failure on: of one account from one address, and of one address over all
accounts. The first leaves the same person a way in from elsewhere; the second leaves others at the same address one.

Two libraries were weighed. django-axes has one limit for all its parameters, and counts a failure after it was hashed,
so that guesses made in parallel pass it. django-allauth limits an account from all addresses alike, by which anybody
could lock anybody out. This module can stay in front of allauth, whose backend is Django's extended.
"""

from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from apps.accounts.models import User
from apps.audit.models import SecurityEvent
from apps.audit.services import record_security_event
from apps.core import rate_limits
from apps.core.addresses import network_of
from apps.core.errors import TooManyRequestsError


@dataclass(frozen=True)
class Attempt:
    """One attempt to sign in that is within the limits, and has been counted as if it had failed."""

    email: str
    address: str | None
    account_key: str
    address_key: str

    def succeeded(self) -> None:
        """The right password: this account's failures from here are forgotten, and this was none of the address."""
        rate_limits.forget(self.account_key)
        rate_limits.add(self.address_key, settings.SIGN_IN_WINDOW_SECONDS, -1)

    def was_not_tried(self) -> None:
        """No password was compared, so nothing was guessed."""
        rate_limits.add(self.account_key, settings.SIGN_IN_WINDOW_SECONDS, -1)
        rate_limits.add(self.address_key, settings.SIGN_IN_WINDOW_SECONDS, -1)

    def failed(self) -> None:
        _record(SecurityEvent.Action.SIGN_IN_FAILED, self.email, self.address)


def begin_attempt(*, email: str, address: str | None) -> Attempt:
    """Count an attempt before anything is hashed.

    Whether the account exists makes no difference, neither to the answer nor to what is done for it.

    Raises:
        TooManyRequestsError: one of the limits is reached; it says for how long.
    """
    email = email.strip().lower()
    place = network_of(address)
    account_key = rate_limits.key_of("sign-in", email, place)
    address_key = rate_limits.key_of("sign-in-address", place)
    window = settings.SIGN_IN_WINDOW_SECONDS
    of_account = rate_limits.add(account_key, window)
    if of_account.number > settings.SIGN_IN_FAILURES_PER_ACCOUNT:
        _record_throttled(of_account.number - settings.SIGN_IN_FAILURES_PER_ACCOUNT, email, address)
        raise _refused("this account from your address", of_account)
    of_address = rate_limits.add(address_key, window)
    if of_address.number > settings.SIGN_IN_FAILURES_PER_ADDRESS:
        # Nothing is tried, so the account's own count stays as it was.
        rate_limits.add(account_key, window, -1)
        _record_throttled(of_address.number - settings.SIGN_IN_FAILURES_PER_ADDRESS, email, address)
        raise _refused("your address", of_address)
    return Attempt(email=email, address=address, account_key=account_key, address_key=address_key)


def coalesced(number: int) -> int:
    """How many attempts a line stands for: there is one for the 1st, 2nd, 4th, 8th … and none (0) for the others."""
    return number - number // 2 if number > 0 and number & (number - 1) == 0 else 0


def _refused(what: str, count: rate_limits.Count) -> TooManyRequestsError:
    minutes = -(-count.seconds_left // 60)
    return TooManyRequestsError(
        f"There were too many failed attempts for {what}. Try again in {minutes} minute{'s' * (minutes != 1)}; who has "
        "lost the password asks the administrator of the hospital for a new one.",
        "sign-in-throttled",
        retry_after=count.seconds_left,
    )


def _record_throttled(number: int, email: str, address: str | None) -> None:
    if amount := coalesced(number):
        _record(SecurityEvent.Action.SIGN_IN_THROTTLED, email, address, amount)


def _record(action: SecurityEvent.Action, email: str, address: str | None, amount: int = 1) -> None:
    user_id: UUID | None = User.objects.filter(email=email).values_list("pk", flat=True).first()
    record_security_event(action=action, address=address, user_id=user_id, amount=amount)
