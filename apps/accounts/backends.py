"""The authentication backend. Every sign-in, in the portal and in the console, passes its rate limits first."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from apps.accounts.guard import begin_attempt
from apps.accounts.models import User
from apps.core.client_address import client_address
from apps.core.errors import UnavailableError


class GuardedBackend(ModelBackend):
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **named: Any
    ) -> User | None:
        """Django's own check of e-mail and password, within the limits.

        Raises:
            TooManyRequestsError: too many attempts failed; nothing was hashed.
            UnavailableError: too many passwords are being hashed in this process.
        """
        email = username if username is not None else named.get(User.USERNAME_FIELD)
        if email is None or password is None:
            return None
        address = client_address(request) if request is not None else None
        attempt = begin_attempt(email=email, address=address)
        try:
            user: Any = super().authenticate(request, username=email, password=password)
        except UnavailableError:
            attempt.was_not_tried()
            raise
        if user is None:
            attempt.failed()
        else:
            attempt.succeeded()
        return user
