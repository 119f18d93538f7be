"""Services for accounts: disable and enable one, invite another operator, choose one's language."""

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.catalogues import LANGUAGES
from apps.core.errors import ConflictError, InvalidInputError, NotPermittedError
from apps.tenants.models import Membership
from apps.tenants.scope import inside_tenant


def disable_account(*, person: User, operator: User, by: Actor) -> User:
    """End a user's access to all tenants. The sessions stay ended, even where the account is enabled again.

    Raises:
        NotPermittedError: the caller is not an operator.
        ConflictError: it is the operator's own account.
    """
    if person.pk == operator.pk:
        raise ConflictError(_("This is your own account. Another operator must disable it."), "own-account")
    return _set_active(person, operator, by, is_active=False, action=AuditEvent.Action.ACCOUNT_DISABLED)


def enable_account(*, person: User, operator: User, by: Actor) -> User:
    """Let a user sign in again, with a new session.

    Raises:
        NotPermittedError: the caller is not an operator.
    """
    return _set_active(person, operator, by, is_active=True, action=AuditEvent.Action.ACCOUNT_ENABLED)


def invite_operator(*, email: str, full_name: str, operator: User) -> User:
    """Create an operator's account without a password. The new operator sets one through a link.

    Raises:
        NotPermittedError: the caller is not an operator.
        ConflictError: the e-mail address has an account.
    """
    if not operator.is_staff:
        raise NotPermittedError(_("Only an operator of the platform can do this."))
    if User.objects.filter(email__iexact=email).exists():
        raise ConflictError(_("This e-mail address already has an account."), "account-exists")
    return User.objects.create_user(email, None, full_name=full_name, is_staff=True)


def _set_active(person: User, operator: User, by: Actor, *, is_active: bool, action: AuditEvent.Action) -> User:
    if not operator.is_staff:
        raise NotPermittedError(_("Only an operator of the platform can do this."))
    tenant_ids = list(Membership.objects.using("auth").filter(user=person.pk).values_list("tenant_id", flat=True))
    with transaction.atomic():
        locked = User.objects.select_for_update().get(pk=person.pk)
        if locked.is_active == is_active:
            return locked
        locked.is_active = is_active
        locked.save(update_fields=["is_active"])
        for tenant_id in tenant_ids:
            with inside_tenant(tenant_id):
                record(action=action, by=by, object_id=person.pk)
    locked.refresh_from_db()
    return locked


def choose_language(*, user: User, language: str) -> None:
    """Choose the language of the portal for oneself.

    Args:
        language: one of ``apps.core.catalogues.LANGUAGES``; empty for that of the hospital.

    Raises:
        InvalidInputError: there is no such language.
    """
    if language and language not in dict(LANGUAGES):
        raise InvalidInputError(_("There is no such language."), "language-unknown")
    User.objects.filter(pk=user.pk).update(language=language)
