"""Services for users, members, invitations and API keys. Each checks the permission and writes the audit trail."""

from apps.accounts.services.invitations import (
    Invited,
    accept,
    invite_first_admin,
    invite_member,
    link_for_new_password,
    open_invitation,
    set_password_by_link,
    withdraw_invitation,
)
from apps.accounts.services.keys import create_key, revoke_key
from apps.accounts.services.members import change_role, remove_member
from apps.accounts.services.origins import set_allowed_origins
from apps.accounts.services.people import choose_language, disable_account, enable_account, invite_operator

__all__ = [
    "Invited",
    "accept",
    "change_role",
    "choose_language",
    "create_key",
    "disable_account",
    "enable_account",
    "invite_first_admin",
    "invite_member",
    "invite_operator",
    "link_for_new_password",
    "open_invitation",
    "remove_member",
    "revoke_key",
    "set_allowed_origins",
    "set_password_by_link",
    "withdraw_invitation",
]
