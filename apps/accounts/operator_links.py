"""The link with which an invited operator chooses a first password.

It is Django's signed token. It is invalid once a password is set, and for every account that has one, so that
operators cannot set each other's passwords.
"""

from typing import Any

from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from apps.accounts.models import User


class FirstPasswordTokens(PasswordResetTokenGenerator):
    key_salt = "apps.accounts.operator_links"

    def check_token(self, user: Any, token: str | None) -> bool:
        waits = user is not None and user.is_staff and user.is_active and not user.has_usable_password()
        return waits and super().check_token(user, token)


first_password_tokens = FirstPasswordTokens()


def operator_link(person: User) -> str:
    """The path of the link."""
    encoded = urlsafe_base64_encode(force_bytes(person.pk))
    return reverse("portal:operator-invitation", args=[encoded, first_password_tokens.make_token(person)])
