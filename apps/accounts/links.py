"""Delivery of invitation links: by e-mail where a mail server is configured, otherwise shown to the inviting user."""

import smtplib
from dataclasses import dataclass

from django.conf import settings
from django.core.mail import send_mail
from django.utils.translation import gettext as _

from apps.accounts.services.invitations import Invited
from apps.core.errors import UnavailableError
from apps.tenants.models import Tenant

_JOIN = """You are invited to work with Checxray at {tenant}.

Open this link and choose a password. It works once, until {expires:%Y-%m-%d %H:%M} UTC:

{address}

If you did not expect this, do nothing.
"""
_RENEWAL = """An administrator of Checxray at {tenant} made this link for you, to choose a new password.

It works once, until {expires:%Y-%m-%d %H:%M} UTC:

{address}

If you did not request it, inform the administrator of your hospital, and do not open it.
"""


@dataclass(frozen=True)
class Link:
    invited: Invited
    tenant: Tenant
    address: str

    @property
    def email(self) -> str:
        return self.invited.invitation.email


def send_link(link: Link) -> bool:
    """Send the link by e-mail.

    Returns:
        True where there is no mail server, so that the link must be shown instead.

    Raises:
        UnavailableError: the mail server did not take it. The caller's transaction must be rolled back.
    """
    if not settings.EMAIL_HOST:
        return True
    text = _RENEWAL if link.invited.invitation.for_user_id else _JOIN
    body = text.format(tenant=link.tenant, expires=link.invited.invitation.expires, address=link.address)
    try:
        send_mail(f"Checxray at {link.tenant}", body, None, [link.email])
    except (OSError, smtplib.SMTPException) as error:
        raise UnavailableError(
            _("The mail server did not take the message, so no link was made. Try again, or inform the operator.")
        ) from error
    return False
