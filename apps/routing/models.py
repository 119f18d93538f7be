"""DICOM peers that may send to a tenant by DIMSE, and the callers that were refused."""

from ipaddress import ip_address, ip_network
from typing import ClassVar

from django.db import models

from apps.routing.peer_fields import AE_TITLE_LENGTH, show_network
from apps.tenants.models import TenantModel

NETWORK_LENGTH = 43
CERTIFICATE_LENGTH = 300


class Peer(TenantModel):
    """A DICOM application that may open associations with the tenant: its AE title, its network, its certificate."""

    ae_title = models.CharField("AE title", max_length=AE_TITLE_LENGTH)
    # CIDR notation, as `peer_fields.clean_network` writes it.
    network = models.CharField(max_length=NETWORK_LENGTH)
    # A SHA-256 fingerprint or a subject, as `peer_fields.clean_certificate` writes it; empty: none is required.
    certificate = models.CharField(max_length=CERTIFICATE_LENGTH, blank=True, default="")
    description = models.CharField(max_length=100, blank=True, default="")
    created = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "ae_title", "network"], name="routing_peer_once"),
        ]

    def __str__(self) -> str:
        return f"{self.ae_title} from {self.address}"

    @property
    def address(self) -> str:
        return show_network(self.network)

    def sends_from(self, ae_title: str, address: str) -> bool:
        """Whether a caller of this AE title and address is this peer, its certificate aside."""
        return self.ae_title == ae_title and ip_address(address) in ip_network(self.network)


class Refusal(TenantModel):
    """A caller that was refused: one row for each AE title and address, with the number of refusals."""

    class Reason(models.TextChoices):
        NOT_LISTED = "not-listed", "This AE title is not listed"
        OTHER_ADDRESS = "other-address", "Listed for another address"
        OTHER_CERTIFICATE = "other-certificate", "Came without the certificate that is listed"
        TOO_MANY = "too-many", "Too many associations at once"
        CLOSED = "closed", "The hospital is closed on this platform"

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
