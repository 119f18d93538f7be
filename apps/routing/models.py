"""DICOM peers of a tenant in both directions, callers that were refused, and destinations of results."""

from ipaddress import ip_address, ip_network
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.webhooks import names_of_secrets
from apps.routing.peer_fields import AE_TITLE_LENGTH, HOST_LENGTH, show_network

# Django looks for an app's models in this module.
from apps.routing.rule_models import IntakePolicy, RuleMatch, RuleRefusals  # noqa: F401
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel

NETWORK_LENGTH = 43
URL_LENGTH = 2000
CERTIFICATE_LENGTH = 300


class PeerProblem(models.TextChoices):
    """Why a peer could not be reached, with what to do about it."""

    ADDRESS_NOT_ALLOWED = (
        "address-not-allowed",
        _("Its address is in a private network that is not allowed for this hospital: ask the operator to allow it."),
    )
    NAME_UNKNOWN = "name-unknown", _("The host name cannot be resolved: correct the host.")
    NO_ANSWER = (
        "no-answer",
        _("Nothing answers there: check host and port, that the application runs, and the firewalls between."),
    )
    TLS_FAILED = (
        "tls-failed",
        _("TLS failed: check that the port expects TLS, and the certificates of both sides."),
    )
    CALLED_UNKNOWN = "called-unknown", _("Another application answers there: check its AE title.")
    CALLING_UNKNOWN = "calling-unknown", _("It does not know this hospital: list our AE title there.")
    REFUSED = "refused", _("It refused the association: list our AE title and address there.")
    BUSY = "busy", _("It takes no more associations for now: try again later.")
    NO_CONTEXT = "no-context", _("It accepts none of the services or kinds of objects that were proposed.")
    ABORTED = "aborted", _("It ended the association without an answer: look into its log.")


class Peer(TenantModel):
    """A DICOM application of the tenant.

    It may open associations from its network, with its AE title and its certificate. Where it has a host and a port, we
    open associations with it as well: for C-MOVE, for deliveries, and for reports of storage commitment.
    """

    ae_title = models.CharField("AE title", max_length=AE_TITLE_LENGTH)
    # CIDR notation, as `peer_fields.clean_network` writes it.
    network = models.CharField(max_length=NETWORK_LENGTH)
    # A SHA-256 fingerprint or a subject, as `peer_fields.clean_certificate` writes it; empty: none is required.
    certificate = models.CharField(max_length=CERTIFICATE_LENGTH, blank=True, default="")
    description = models.CharField(max_length=100, blank=True, default="")
    created = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField(null=True, blank=True, editable=False)
    # Peers that were listed before searches and retrieval existed may only send (`db_default`).
    is_send_only = models.BooleanField(default=False, db_default=True)
    # Empty: it only calls us.
    host = models.CharField(max_length=HOST_LENGTH, blank=True, default="", db_default="")
    port = models.PositiveIntegerField(null=True, blank=True)
    tls = models.BooleanField("TLS", default=False, db_default=False)
    last_reached = models.DateTimeField(null=True, blank=True, editable=False)
    # A value of `PeerProblem`; empty since the last time that it was reached.
    last_problem = models.CharField(max_length=30, blank=True, default="", db_default="")
    last_problem_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "ae_title", "network"], name="routing_peer_once"),
            models.UniqueConstraint(
                fields=["tenant", "ae_title"], condition=~models.Q(host=""), name="routing_one_host_per_ae_title"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.ae_title} from {self.address}"

    @property
    def address(self) -> str:
        return show_network(self.network)

    @property
    def can_be_called(self) -> bool:
        return bool(self.host)

    @property
    def called_at(self) -> str:
        """Host and port, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if host else ""

    @property
    def problem(self) -> PeerProblem | None:
        """Why it could not be reached the last time; None where it was, or was never called."""
        return PeerProblem(self.last_problem) if self.last_problem in PeerProblem.values else None

    def sends_from(self, ae_title: str, address: str) -> bool:
        """Whether a caller of this AE title and address is this peer, its certificate aside."""
        return self.ae_title == ae_title and ip_address(address) in ip_network(self.network)


class Refusal(TenantModel):
    """A caller that was refused: one row for each AE title and address, with the number of refusals."""

    class Reason(models.TextChoices):
        NOT_LISTED = "not-listed", _("This AE title is not listed")
        OTHER_ADDRESS = "other-address", _("Listed for another address")
        OTHER_CERTIFICATE = "other-certificate", _("Came without the certificate that is listed")
        TOO_MANY = "too-many", _("Too many associations at once")
        CLOSED = "closed", _("The hospital is closed on this platform")

    ae_title = models.CharField(max_length=AE_TITLE_LENGTH)
    address = models.GenericIPAddressField()
    reason = models.CharField(max_length=20, choices=Reason)
    first = models.DateTimeField()
    last = models.DateTimeField()
    amount = models.PositiveIntegerField(default=0)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "ae_title", "address"], name="routing_refusal_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "-last"], name="routing_refusal_latest")]

    def __str__(self) -> str:
        return f"{self.ae_title} from {self.address}: {self.reason}"


class Destination(TenantModel):
    """A system to which a tenant's results or events are sent.

    ``contents`` are kinds of result objects, or types of events for a webhook. A token and a private key are stored
    encrypted (`apps.core.encryption`) and never shown again; the secret of a webhook is derived, as that of an
    endpoint of the platform.
    """

    class Kind(models.TextChoices):
        DIMSE = "dimse", _("DICOM (C-STORE)")
        STOW = "stow", _("DICOMweb (STOW-RS)")
        WEBHOOK = "webhook", _("Webhook")

    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=100)
    peer = TenantForeignKey(Peer, null=True, on_delete=models.PROTECT, related_name="destinations")
    url = models.CharField(max_length=URL_LENGTH, blank=True, default="")
    contents = models.JSONField(default=list)
    # Of a DICOM destination: storage commitment (PS3.4 annex J).
    asks_commitment = models.BooleanField(default=False, db_default=False)
    is_enabled = models.BooleanField(default=True)
    disabled_because = models.CharField(max_length=300, blank=True, default="")
    token_encrypted = models.TextField(blank=True, default="")
    client_certificate = models.TextField(blank=True, default="")
    client_key_encrypted = models.TextField(blank=True, default="")
    authorities = models.TextField(
        blank=True, default="", help_text="CA certificates (PEM); empty: those of the system."
    )
    secret_number = models.PositiveIntegerField(default=1)
    secret_made = models.DateTimeField(default=timezone.now)
    last_success = models.DateTimeField(null=True)
    last_failure = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True, default="", help_text="Empty since the last success.")
    created = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "name"], name="routing_destination_name"),
            models.CheckConstraint(
                condition=Q(kind="dimse", peer__isnull=False, url="") | (~Q(kind="dimse") & Q(peer=None) & ~Q(url="")),
                name="routing_destination_has_a_target",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def target(self) -> str:
        """Where it is, for people."""
        return self.url or (f"{self.peer.ae_title} at {self.peer.host}:{self.peer.port}" if self.peer else "")

    def context_of(self, credential: str) -> str:
        """The context in which a credential of this row is encrypted."""
        return f"{self._meta.db_table}:{self.pk}:{credential}"

    @property
    def secret_names(self) -> list[str]:
        """The secrets that sign a webhook's messages, newest first."""
        return names_of_secrets(self.pk, self.secret_number, self.secret_made)
