"""Services for a tenant's destinations: add, change, switch on and off, remove, test, and send again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.encryption import encrypt
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from apps.core.outbound import check_url
from apps.core.text import clean_text
from apps.core.tls import CertificateError, ClientTls
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.webhooks import secret_of
from apps.core.work_queue import JobState
from apps.events.commitments import forget_requests
from apps.events.deliveries import ENDED_WITHOUT, send_again
from apps.events.models import Delivery, TenantEvent
from apps.results.models import ResultKind
from apps.routing.models import URL_LENGTH, Destination, Peer
from apps.tenants.models import ApiClient, ApiScope, Membership, Role, Tenant
from apps.tenants.scope import current_tenant_id
from apps.tenants.services import allowed_networks, require_role

TEST: Final = "test"
MOST_DESTINATIONS: Final = 30
LONGEST_NAME: Final = 100
Kind = Destination.Kind
Caller = Membership | ApiClient | None
CONTENTS: Final[Mapping[str, Sequence[str]]] = {
    Kind.DIMSE: ResultKind.values,
    Kind.STOW: ResultKind.values,
    Kind.WEBHOOK: TenantEvent.Type.values,
}
"""What a destination of each kind can be sent."""


@dataclass(frozen=True)
class DestinationSettings:
    """What an administrator enters for a destination.

    Attributes:
        peer_id: of a DICOM destination; the others have a URL.
        token: a bearer token; None keeps the stored one, empty removes it.
        client_certificate: with its chain and ``client_key``, in PEM; None keeps the stored pair, empty removes it.
        authorities: CA certificates in PEM; empty: those of the system.
        asks_commitment: whether a DICOM destination is asked for storage commitment of what it got.
    """

    name: str
    contents: Sequence[str]
    peer_id: UUID | None = None
    url: str = ""
    token: str | None = None
    client_certificate: str | None = None
    client_key: str = ""
    authorities: str = ""
    asks_commitment: bool = False


def add_destination(*, kind: str, chosen: DestinationSettings, caller: Caller, by: Actor) -> tuple[Destination, str]:
    """Add a destination to the tenant in force; it gets what comes from now on.

    Returns:
        The destination, and the secret of a webhook, which is shown only this once; empty for the other kinds.

    Raises:
        NotPermittedError: see `require_manager`.
        InvalidInputError, ConflictError: the detail says what to change.
    """
    require_manager(caller, kind)
    if Destination.objects.count() >= MOST_DESTINATIONS:
        raise ConflictError(
            _("A hospital can have %(most)s destinations. Remove one first.") % {"most": MOST_DESTINATIONS},
            "too-many-destinations",
        )
    destination = Destination(kind=kind)
    _fill(destination, chosen)
    destination.save(force_insert=True)
    record(action=AuditEvent.Action.DESTINATION_ADDED, by=by, object_id=destination.pk)
    return destination, secret_of(destination.secret_names[0]) if kind == Kind.WEBHOOK else ""


def change_destination(*, destination_id: UUID, chosen: DestinationSettings, caller: Caller, by: Actor) -> Destination:
    """Change a destination. What waits is sent by the new settings, at once.

    Raises:
        NotPermittedError: see `require_manager`.
        NotFoundError, InvalidInputError, ConflictError
    """
    # The whole row is saved: a secret that is renewed, or a delivery that ends meanwhile, must not be overwritten.
    destination = _permitted(destination_id, caller, lock=True)
    former_peer = destination.peer_id
    _fill(destination, chosen)
    destination.last_error = ""
    destination.save()
    # Another peer does not have what was sent to the former one.
    if not destination.asks_commitment or destination.peer_id != former_peer:
        forget_requests(destination_id)
    _hasten(destination_id)
    record(action=AuditEvent.Action.DESTINATION_CHANGED, by=by, object_id=destination_id)
    return destination


def switch_destination(*, destination_id: UUID, is_enabled: bool, caller: Caller, by: Actor) -> Destination:
    """Switch a destination on or off. While it is off, result objects wait for it, and events are not kept.

    Raises:
        NotPermittedError: see `require_manager`.
        NotFoundError
    """
    destination = _permitted(destination_id, caller)
    destination.is_enabled, destination.disabled_because = is_enabled, ""
    destination.save(update_fields=["is_enabled", "disabled_because"])
    if is_enabled:
        _hasten(destination_id)
    record(action=AuditEvent.Action.DESTINATION_CHANGED, by=by, object_id=destination_id)
    return destination


def remove_destination(*, destination_id: UUID, caller: Caller, by: Actor) -> Destination:
    """Remove a destination with its deliveries and credentials. Results and events stay.

    Raises:
        NotPermittedError: see `require_manager`.
        NotFoundError
    """
    destination = _permitted(destination_id, caller)
    Destination.objects.filter(pk=destination_id).delete()
    record(action=AuditEvent.Action.DESTINATION_REMOVED, by=by, object_id=destination_id)
    return destination


def renew_webhook_secret(*, destination_id: UUID, caller: Caller, by: Actor) -> str:
    """Make a new secret, which is shown only this once. For a day, messages are signed with the former one as well.

    Raises:
        NotPermittedError: see `require_manager`.
        NotFoundError: there is no such webhook.
    """
    _permitted(destination_id, caller)
    webhooks = Destination.objects.filter(pk=destination_id, kind=Kind.WEBHOOK)
    if not webhooks.update(secret_number=F("secret_number") + 1, secret_made=timezone.now()):
        raise not_found()
    record(action=AuditEvent.Action.DESTINATION_CHANGED, by=by, object_id=destination_id)
    return secret_of(webhooks.get().secret_names[0])


def webhook_secret(destination_id: UUID) -> str:
    """The secret of a webhook, for the answer to the request that made it; nothing else shows it.

    Raises:
        NotFoundError
    """
    return secret_of(find_destination(destination_id).secret_names[0])


def send_test(*, destination_id: UUID, caller: Caller, by: Actor) -> Delivery:
    """Queue a test: a ping for a webhook, otherwise an image of the patient TEST^CHECXRAY.

    Raises:
        NotPermittedError: see `require_manager`.
        NotFoundError
        ConflictError: the destination is switched off.
    """
    destination = _permitted(destination_id, caller)
    if not destination.is_enabled:
        raise ConflictError(_("This destination is switched off: switch it on first."), "destination-off")
    # Before what waits, so that the outcome is soon there.
    delivery = Delivery.objects.create(destination=destination, content=TEST, priority=1)
    wake_after_commit(WakeUp.SEND)
    record(action=AuditEvent.Action.DESTINATION_TESTED, by=by, object_id=destination_id)
    return delivery


def repeat_delivery(*, delivery_id: UUID, caller: Caller, by: Actor) -> Delivery:
    """Send once more what arrived or was given up, under its old id.

    Raises:
        NotPermittedError: see `require_manager`.
        NotFoundError
        ConflictError: it is queued already, or its destination is switched off.
    """
    require_manager(caller)
    delivery = Delivery.objects.filter(pk=delivery_id).first()
    if delivery is None:
        raise NotFoundError(_("There is no such delivery in this hospital."), "delivery-not-found")
    _permitted(delivery.destination_id, caller)
    if not send_again(deliveries=[delivery_id]):
        raise ConflictError(_("It is queued already."), "delivery-open")
    record(action=AuditEvent.Action.DELIVERIES_REPEATED, by=by, object_id=delivery.destination_id)
    return delivery


def repeat_failed(*, destination_id: UUID, caller: Caller, by: Actor) -> int:
    """Send everything once more that was given up for a destination; return how many deliveries there are.

    Raises:
        NotPermittedError: see `require_manager`.
        NotFoundError
        ConflictError: the destination is switched off.
    """
    _permitted(destination_id, caller)
    given_up = Delivery.objects.filter(destination=destination_id, state__in=ENDED_WITHOUT)
    repeated = send_again(deliveries=list(given_up.values_list("pk", flat=True)))
    if repeated:
        record(action=AuditEvent.Action.DELIVERIES_REPEATED, by=by, object_id=destination_id, amount=repeated)
    return repeated


def require_manager(caller: Caller, kind: str = Kind.WEBHOOK) -> None:
    """An administrator manages all destinations, an API key with the scope ``webhooks.manage`` webhooks only.

    Raises:
        NotPermittedError
    """
    if not isinstance(caller, ApiClient):
        require_role(caller, Role.ADMIN)
    elif kind != Kind.WEBHOOK or ApiScope.WEBHOOKS not in caller.scopes:
        raise NotPermittedError(_("Only webhooks are managed by API keys, with the scope webhooks.manage."))


def _permitted(destination_id: UUID, caller: Caller, *, lock: bool = False) -> Destination:
    require_manager(caller)
    destination = find_destination(destination_id, lock=lock)
    if isinstance(caller, ApiClient) and destination.kind != Kind.WEBHOOK:
        raise not_found()
    return destination


def find_destination(destination_id: UUID, *, lock: bool = False) -> Destination:
    """The destination of the tenant in force.

    Args:
        lock: let other transactions that change its row wait for the end of this one.

    Raises:
        NotFoundError
    """
    rows = Destination.objects.select_related("peer").filter(pk=destination_id)
    destination = (rows.select_for_update(no_key=True, of=("self",)) if lock else rows).first()
    if destination is None:
        raise not_found()
    return destination


def not_found() -> NotFoundError:
    return NotFoundError(_("There is no such destination in this hospital."), "destination-not-found")


def _hasten(destination_id: UUID) -> None:
    """Let what waits be sent at once."""
    with transaction.atomic():
        Delivery.objects.filter(destination=destination_id, state=JobState.QUEUED).update(run_after=None)
        wake_after_commit(WakeUp.SEND)


def _fill(destination: Destination, chosen: DestinationSettings) -> None:
    destination.name = clean_text(chosen.name.replace("\n", " "), name="name", longest=LONGEST_NAME)
    if not destination.name:
        raise InvalidInputError(_("Give the destination a name."), "destination-name-missing")
    if Destination.objects.filter(name=destination.name).exclude(pk=destination.pk).exists():
        raise ConflictError(_("Another destination has this name."), "destination-name-taken")
    known = CONTENTS.get(destination.kind, ())
    if not chosen.contents or not set(chosen.contents) <= set(known):
        raise InvalidInputError(_("Choose one or more of %(known)s.") % {"known": ", ".join(known)}, "contents-unknown")
    destination.contents = sorted(set(chosen.contents))
    if destination.kind == Kind.DIMSE:
        _fill_peer(destination, chosen)
    else:
        _fill_url(destination, chosen)
    if destination.kind == Kind.STOW:
        _fill_credentials(destination, chosen)


def _fill_peer(destination: Destination, chosen: DestinationSettings) -> None:
    destination.asks_commitment = chosen.asks_commitment
    destination.peer = Peer.objects.filter(pk=chosen.peer_id).first() if chosen.peer_id else None
    if destination.peer is None:
        raise InvalidInputError(_("Choose a DICOM peer of this hospital."), "peer-missing")
    if not destination.peer.can_be_called:
        raise InvalidInputError(
            _("%(peer)s has no host and port: enter them under DICOM peers first.") % {"peer": destination.peer},
            "peer-without-host",
        )


def _fill_url(destination: Destination, chosen: DestinationSettings) -> None:
    url = chosen.url.strip()
    if len(url) > URL_LENGTH:
        raise InvalidInputError(_("The URL is too long."), "url-too-long")
    check_url(url, allowed_networks(Tenant.objects.get(pk=current_tenant_id())))
    destination.url = url


def _fill_credentials(destination: Destination, chosen: DestinationSettings) -> None:
    destination.authorities = chosen.authorities.strip()
    if chosen.token is not None:
        token = chosen.token.strip()
        if not token.isascii() or not token.isprintable() or " " in token:
            raise InvalidInputError(_("The token has characters that no header can hold."), "token-invalid")
        destination.token_encrypted = encrypt(token, context=destination.context_of("token"))
    tls = ClientTls(destination.authorities)
    if chosen.client_certificate is not None:
        certificate, key = chosen.client_certificate.strip(), chosen.client_key.strip()
        if bool(certificate) != bool(key):
            raise InvalidInputError(
                _("Enter the client certificate and its private key together."), "certificate-incomplete"
            )
        destination.client_certificate = certificate
        destination.client_key_encrypted = encrypt(key, context=destination.context_of("client_key"))
        tls = ClientTls(destination.authorities, certificate, key)
    try:
        tls.context()
    except CertificateError as error:
        raise InvalidInputError(str(error), "certificate-invalid") from error
