"""Hospital settings, DICOM peers: the pages on which administrators list devices and archives."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError, ConflictError, InvalidInputError
from apps.portal.access import MemberRequest, members_only
from apps.results.clients.association import PeerError
from apps.results.clients.peers import echo_peer
from apps.routing import peer_fields, selectors, services
from apps.routing.models import CERTIFICATE_LENGTH, Peer, Refusal
from apps.routing.peer_fields import HOST_LENGTH
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import Role
from apps.tenants.services import require_role


class PeerForm(forms.Form):
    ae_title = forms.CharField(
        label=gettext_lazy("Calling AE title"),
        max_length=100,
        help_text=gettext_lazy("Exactly as it is set on the device: capital and small letters differ."),
    )
    network = forms.CharField(
        label=gettext_lazy("Address or network"),
        max_length=100,
        help_text=gettext_lazy("Where it sends from, such as 10.1.2.3, 10.1.2.0/24 or 2001:db8::7."),
    )
    certificate = forms.CharField(
        label=gettext_lazy("Client certificate"),
        max_length=CERTIFICATE_LENGTH,
        required=False,
        help_text=gettext_lazy(
            "Its SHA-256 fingerprint, or its subject such as CN=ct1.example,O=Clinic. "
            "Then the device may send by TLS with this certificate only. Empty: no certificate is required."
        ),
    )
    is_send_only = forms.BooleanField(
        label=gettext_lazy("It may only send"),
        required=False,
        help_text=gettext_lazy("Without this it may also search and retrieve the studies of this hospital."),
    )
    host = forms.CharField(
        label=gettext_lazy("Host"),
        max_length=HOST_LENGTH,
        required=False,
        help_text=gettext_lazy(
            "Name or address at which it takes associations, for retrieval (C-MOVE) and deliveries. "
            "Empty: it is never called."
        ),
    )
    port = forms.IntegerField(
        label=gettext_lazy("Port"), required=False, min_value=1, max_value=peer_fields.LARGEST_PORT
    )
    tls = forms.BooleanField(
        label=gettext_lazy("It expects TLS"),
        required=False,
        help_text=gettext_lazy("Its certificate must be valid for the host, or be the client certificate given above."),
    )
    description = forms.CharField(
        label=gettext_lazy("Description"),
        max_length=100,
        required=False,
        help_text=gettext_lazy("What it is, for your colleagues."),
    )

    def clean_ae_title(self) -> str:
        return peer_fields.clean_ae_title(self.cleaned_data["ae_title"])

    def clean_network(self) -> str:
        return peer_fields.clean_network(self.cleaned_data["network"])

    def clean_host(self) -> str:
        return peer_fields.clean_host(self.cleaned_data["host"])

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("host") and not cleaned.get("port") and "port" not in self.errors:
            self.add_error("port", _("Give the port on which it takes associations."))
        return cleaned

    @property
    def fields_of_peer(self) -> services.PeerFields:
        return services.PeerFields(**self.cleaned_data)

    def clean_certificate(self) -> str:
        certificate = peer_fields.clean_certificate(self.cleaned_data["certificate"])
        if certificate and not settings.DIMSE_TLS_PORT and not self.data.get("tls"):
            raise forms.ValidationError(
                _(
                    "TLS is off on this platform, so no device can show a certificate: ask the operator, or leave "
                    "it empty."
                )
            )
        return certificate


@dataclass(frozen=True)
class PeerRow:
    """A peer, and the last refusal of a caller with its AE title."""

    peer: Peer
    refusal: Refusal | None


@dataclass(frozen=True)
class RefusedRow:
    """A caller that was refused, and whether it is listed now."""

    refusal: Refusal
    is_listed: bool


@require_http_methods(["GET", "POST"])
@members_only
def peer_list(request: MemberRequest) -> HttpResponse:
    """The peers, the callers that were refused lately, and the form for a new peer."""
    require_role(request.membership, Role.ADMIN)
    refusals = selectors.refusals()
    posted: Any = request.POST if request.method == "POST" else None
    form = PeerForm(posted, initial=_of_refusal(refusals, request.GET.get("refusal")))
    if request.method == "POST" and form.is_valid():
        try:
            peer = services.add_peer(fields=form.fields_of_peer, membership=request.membership, by=actor_of(request))
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, _("%(peer)s may send from now on.") % {"peer": peer})
            return redirect("portal:peers")
    latest = {refusal.ae_title: refusal for refusal in reversed(refusals)}
    peers = selectors.peers()
    context = {
        "rows": [PeerRow(peer, latest.get(peer.ae_title)) for peer in peers],
        "refused": [
            RefusedRow(each, any(peer.sends_from(each.ae_title, each.address) for peer in peers)) for each in refusals
        ],
        "form": form,
        "port": 0 if settings.DIMSE_TLS_PORT and settings.DIMSE_TLS_ONLY else settings.DIMSE_PORT,
        "tls_port": settings.DIMSE_TLS_PORT,
    }
    return render(request, "portal/settings/peers.html", context)


@require_http_methods(["GET", "POST"])
@members_only
def peer(request: MemberRequest, peer_id: UUID) -> HttpResponse:
    """Change a peer, or remove it."""
    require_role(request.membership, Role.ADMIN)
    found = services.find_peer(peer_id)
    posted: Any = request.POST if request.method == "POST" else None
    shown = {
        "ae_title": found.ae_title,
        "network": found.address,
        "certificate": found.certificate,
        "description": found.description,
        "is_send_only": found.is_send_only,
        "host": found.host,
        "port": found.port,
        "tls": found.tls,
    }
    form = PeerForm(posted, initial=shown)
    if request.method == "POST" and form.is_valid():
        try:
            changed = services.change_peer(
                peer_id=peer_id, fields=form.fields_of_peer, membership=request.membership, by=actor_of(request)
            )
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, _("Saved: %(changed)s.") % {"changed": changed})
            return redirect("portal:peers")
    return render(request, "portal/settings/peer.html", {"peer": found, "form": form})


@require_POST
@members_only
def remove(request: MemberRequest, peer_id: UUID) -> HttpResponse:
    try:
        removed = services.remove_peer(peer_id=peer_id, membership=request.membership, by=actor_of(request))
    except ConflictError as error:
        messages.error(request, error.detail)
        return redirect("portal:peer", peer_id)
    messages.success(request, _("%(removed)s is refused from now on.") % {"removed": removed})
    return redirect("portal:peers")


# A peer may take seconds to answer, and no transaction is open meanwhile.
@opens_own_transaction
@require_POST
@members_only
def echo(request: MemberRequest, peer_id: UUID) -> HttpResponse:
    """Ask a peer for a C-ECHO."""
    require_role(request.membership, Role.ADMIN)
    try:
        peer = echo_peer(peer_id=peer_id, tenant=request.tenant)
    except PeerError as error:
        messages.error(request, _("It did not answer. %(reason)s") % {"reason": error.detail})
    except InvalidInputError as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, _("%(ae_title)s answered.") % {"ae_title": peer.ae_title})
    return redirect("portal:peers")


def _of_refusal(refusals: list[Refusal], refusal_id: str | None) -> dict[str, str]:
    """The initial values of the form for a caller that was refused."""
    chosen = next((each for each in refusals if str(each.pk) == refusal_id), None)
    return {"ae_title": chosen.ae_title, "network": chosen.address} if chosen else {}
