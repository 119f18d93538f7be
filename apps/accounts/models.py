"""Users and invitations. A user has one account for the whole platform; a Membership gives a role in a tenant."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.auth.password_validation import validate_password
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac

from apps.core.catalogues import LANGUAGES
from apps.core.identifiers import uuid7
from apps.tenants.models import Role, TenantModel


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create an account. The password policy is checked here too, because commands and scripts call this.

        Raises:
            ValidationError: the password is too weak.
        """
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        if password is not None:
            validate_password(password, user)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(unique=True)
    full_name = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(
        "operator", default=False, help_text="May sign in to the operator's console; sees no patient there."
    )
    date_joined = models.DateTimeField(auto_now_add=True)
    language = models.CharField(
        max_length=5,
        choices=LANGUAGES,
        blank=True,
        db_default="",
        default="",
        help_text="Of the portal's pages, as the person chose it. Empty: the hospital's.",
    )
    # Part of the session hash. A trigger increments it when the account is disabled, which ends all its sessions.
    session_epoch = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    objects = UserManager()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(Lower("email"), name="accounts_user_email_ignoring_case"),
            # A membership refers to both columns, so that an operator cannot be a member, nor a member an operator.
            models.UniqueConstraint(fields=["id", "is_staff"], name="accounts_user_id_is_staff"),
            models.CheckConstraint(
                condition=Q(is_superuser=False) | Q(is_staff=True), name="accounts_user_superuser_is_operator"
            ),
        ]

    def __str__(self) -> str:
        return self.full_name or self.email

    def get_full_name(self) -> str:
        return str(self)

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        # Django's hash covers the password. This hash also covers the session epoch.
        key_salt = "apps.accounts.models.User.session_auth_hash"
        value = f"{self.password}:{self.session_epoch}"
        return salted_hmac(key_salt, value, secret=secret, algorithm="sha256").hexdigest()


class Invitation(TenantModel):
    """A one-time link. It invites a person to a tenant, or lets a member choose a new password.

    It works for a limited time. The secret is shown or mailed once and only its SHA-256 is stored.
    """

    email = models.EmailField()
    role = models.CharField(max_length=20, choices=Role, blank=True)
    for_user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="The member who chooses a new password; null where the link invites.",
    )
    token_hash = models.CharField(max_length=64, editable=False)
    created = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    expires = models.DateTimeField()
    accepted = models.DateTimeField(null=True)
    withdrawn = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "token_hash"], name="accounts_invitation_token_hash"),
        ]

    def __str__(self) -> str:
        return f"{self.email} {self.role or 'password'}"
