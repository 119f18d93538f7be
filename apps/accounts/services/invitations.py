"""Invitations: links that work once, to become a member of a tenant or to choose a new password.

The link alone identifies the invited person, so it is shown once, to the inviting user, or sent to the invited e-mail
address. An invitation never takes over an existing account: its owner signs in to accept.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Invitation, User
from apps.accounts.services.members import has_working_admin
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from apps.tenants.models import Membership, Role, Tenant
from apps.tenants.scope import tenant_tx
from apps.tenants.services import require_role, secret_digest, tenant_of_key, tenant_token

MARK = "inv"
LASTS = timedelta(days=7)
PASSWORD_LINK_LASTS = timedelta(days=1)


@dataclass(frozen=True)
class Invited:
    """An invitation and the secret of its link, which nothing stores."""

    invitation: Invitation
    token: str


def invite_member(*, email: str, role: str, membership: Membership | None, by: Actor) -> Invited:
    """Invite a person into the tenant in force; an earlier invitation of the same address ends.

    Raises:
        NotPermittedError: the caller is not an administrator of this tenant.
        InvalidInputError: no such role, or no e-mail address.
        ConflictError: the person is a member already.
    """
    require_role(membership, Role.ADMIN)
    return _invite(email, role, by)


def invite_first_admin(*, tenant: Tenant, email: str, operator: User, by: Actor) -> Invited:
    """Invite the administrator of a tenant that has none who can sign in.

    Raises:
        NotPermittedError: the caller is not an operator.
        InvalidInputError: no e-mail address.
        ConflictError: the tenant has an administrator.
    """
    if not operator.is_staff:
        raise NotPermittedError(_("Only an operator of the platform can do this."))
    with tenant_tx(tenant.id):
        if has_working_admin():
            raise ConflictError(
                _("%(tenant)s has an administrator, who invites its people in the portal under Hospital settings.")
                % {"tenant": tenant},
                "admin-exists",
            )
        return _invite(email, Role.ADMIN, by)


def link_for_new_password(*, member_id: UUID, membership: Membership | None, by: Actor) -> Invited:
    """Make a link with which a member of the tenant in force chooses a new password.

    Raises:
        NotPermittedError: the caller is not an administrator of this tenant.
        NotFoundError: the tenant has no such member.
        ConflictError: the user is a member of another tenant as well, whose data the link would make accessible.
    """
    require_role(membership, Role.ADMIN)
    member = Membership.objects.select_related("user").filter(pk=member_id).first()
    if member is None:
        raise NotFoundError(_("This hospital has no such member."), "member-not-found")
    if Membership.objects.using("auth").filter(user=member.user_id).count() > 1:
        raise ConflictError(
            _(
                "This person belongs to another hospital as well, so no hospital alone may renew the password. "
                "Remove the "
                "membership and invite another e-mail address of theirs."
            ),
            "member-of-several-hospitals",
        )
    made = _make(member.user.email, by, lasts=PASSWORD_LINK_LASTS, for_user=member.user)
    record(action=AuditEvent.Action.PASSWORD_LINK_MADE, by=by, object_id=member.user_id)
    return made


def withdraw_invitation(*, invitation_id: UUID, membership: Membership | None, by: Actor) -> Invitation:
    """End an invitation of the tenant in force before it is used.

    Raises:
        NotPermittedError: the caller is not an administrator of this tenant.
        NotFoundError: there is no such open invitation.
    """
    require_role(membership, Role.ADMIN)
    invitation = Invitation.objects.select_for_update().filter(pk=invitation_id, accepted=None, withdrawn=None).first()
    if invitation is None:
        raise NotFoundError(_("There is no such open invitation."), "invitation-not-found")
    invitation.withdrawn = timezone.now()
    invitation.save(update_fields=["withdrawn"])
    record(action=AuditEvent.Action.INVITATION_WITHDRAWN, by=by, object_id=invitation.pk)
    return invitation


def open_invitation(token: str) -> Invitation:
    """The invitation of a valid link, with its tenant; called before a tenant is in force.

    Raises:
        NotFoundError: the link is unknown, used, withdrawn or too old; the error is the same for all of these.
    """
    claimed = tenant_of_key(token, MARK)
    if claimed is None or not Tenant.objects.filter(pk=claimed[0], is_active=True).exists():
        raise _gone()
    with tenant_tx(claimed[0]):
        return _find(claimed[1])


def accept(*, token: str, user: User | None, full_name: str = "", password: str = "", address: str | None) -> User:
    """Make the invited person a member: the signed-in owner of the address, or a new account with this password.

    Raises:
        NotFoundError: the link is no longer valid.
        NotPermittedError: the account exists and its owner is not the signed-in user, or the account is an operator's.
        InvalidInputError: the password is too weak; the detail says why.
    """
    invitation = open_invitation(token)
    with tenant_tx(invitation.tenant.id):
        invitation = _find(digest=invitation.token_hash, lock=True)
        if invitation.for_user_id is not None:
            raise _gone()
        person = _person(invitation, user, full_name, password)
        by = user_actor(person.pk, address)
        Membership.objects.update_or_create(user=person, defaults={"role": invitation.role})
        _use(invitation)
        record(action=AuditEvent.Action.MEMBER_JOINED, by=by, object_id=invitation.pk)
    return person


def set_password_by_link(*, token: str, password: str, address: str | None) -> User:
    """Set the new password of a member; the member's sessions end.

    Raises:
        NotFoundError: the link is no longer valid, or the user is no longer a member.
        InvalidInputError: the password is too weak; the detail says why.
    """
    invitation = open_invitation(token)
    with tenant_tx(invitation.tenant.id):
        invitation = _find(digest=invitation.token_hash, lock=True)
        if invitation.for_user_id is None:
            raise _gone()
        person = User.objects.select_for_update().filter(pk=invitation.for_user_id, is_active=True).first()
        if person is None or not Membership.objects.filter(user=person).exists():
            raise _gone()
        # The user may have joined another tenant since the link was made.
        if Membership.objects.using("auth").filter(user=person).count() > 1:
            raise _gone()
        _require_strong(password, person)
        person.set_password(password)
        person.save(update_fields=["password"])
        _use(invitation)
        by = user_actor(person.pk, address)
        record(action=AuditEvent.Action.PASSWORD_SET, by=by, object_id=person.pk)
    return person


def account_of(invitation: Invitation) -> User | None:
    """The account that has the invited address already."""
    return User.objects.filter(email__iexact=invitation.email).first()


def _invite(email: str, role: str, by: Actor) -> Invited:
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError as error:
        raise InvalidInputError(_("Enter an e-mail address."), "email-invalid") from error
    if role not in Role.values:
        raise InvalidInputError(_("The role must be %(join)s.") % {"join": ", ".join(Role.values)}, "role-unknown")
    if Membership.objects.filter(user__email__iexact=email).exists():
        raise ConflictError(_("This person is a member already."), "member-exists")
    waiting = Invitation.objects.filter(email=email, for_user=None, accepted=None, withdrawn=None)
    waiting.update(withdrawn=timezone.now())
    made = _make(email, by, lasts=LASTS, role=role)
    record(action=AuditEvent.Action.MEMBER_INVITED, by=by, object_id=made.invitation.pk)
    return made


def _make(email: str, by: Actor, *, lasts: timedelta, role: str = "", for_user: User | None = None) -> Invited:
    token = tenant_token(MARK)
    invitation = Invitation.objects.create(
        email=email,
        role=role,
        for_user=for_user,
        token_hash=token.digest,
        created_by_id=by.user_id,
        expires=timezone.now() + lasts,
    )
    return Invited(invitation=invitation, token=token.text)


def _find(secret: str = "", *, digest: str = "", lock: bool = False) -> Invitation:
    invitations = Invitation.objects.select_related("tenant")
    if lock:
        invitations = invitations.select_for_update(of=("self",))
    live = invitations.filter(
        token_hash=digest or secret_digest(secret), accepted=None, withdrawn=None, expires__gt=timezone.now()
    )
    found = live.first()
    if found is None:
        raise _gone()
    return found


def _person(invitation: Invitation, user: User | None, full_name: str, password: str) -> User:
    existing = account_of(invitation)
    if existing is None:
        return _new_account(invitation, full_name, password)
    if user is None or user.pk != existing.pk:
        raise NotPermittedError(_("Sign in as %(email)s to accept this invitation.") % {"email": invitation.email})
    if existing.is_staff:
        raise NotPermittedError(_("An operator of the platform cannot be a member of a hospital. Use another address."))
    return existing


def _new_account(invitation: Invitation, full_name: str, password: str) -> User:
    person = User(email=invitation.email, full_name=full_name.strip())
    _require_strong(password, person)
    person.set_password(password)
    try:
        with transaction.atomic():
            person.save(force_insert=True)
    except IntegrityError as error:
        raise ConflictError(_("An account with this address was made meanwhile: sign in to accept.")) from error
    return person


def _require_strong(password: str, person: User) -> None:
    try:
        validate_password(password, person)
    except ValidationError as error:
        raise InvalidInputError(" ".join(error.messages), "password-too-weak") from error


def _use(invitation: Invitation) -> None:
    invitation.accepted = timezone.now()
    invitation.save(update_fields=["accepted"])


def _gone() -> NotFoundError:
    return NotFoundError(
        _("This link is unknown, has been used or is too old. Ask the person who gave it to you for a new one."),
        "invitation-not-found",
    )
