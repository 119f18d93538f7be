"""Hospital settings, DICOM peers: the pages on which administrators list the devices that may send."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.portal.access import MemberRequest, members_only
from apps.routing import peer_fields, selectors, services
from apps.routing.models import CERTIFICATE_LENGTH, Peer, Refusal
from apps.tenants.models import Role
from apps.tenants.services import require_role


class PeerForm(forms.Form):
    ae_title = forms.CharField(
        label="Calling AE title",
        max_length=100,
        help_text="Exactly as it is set on the device: capital and small letters differ.",
    )
    network = forms.CharField(
        label="Address or network",
        max_length=100,
        help_text="Where it sends from, such as 10.1.2.3, 10.1.2.0/24 or 2001:db8::7.",
    )
    certificate = forms.CharField(
        label="Client certificate",
        max_length=CERTIFICATE_LENGTH,
        required=False,
        help_text="Its SHA-256 fingerprint, or its subject such as CN=ct1.example,O=Clinic. "
        "Then the device may send by TLS with this certificate only. Empty: no certificate is required.",
    )
    description = forms.CharField(
        label="Description", max_length=100, required=False, help_text="What it is, for your colleagues."
    )

    def clean_ae_title(self) -> str:
        return peer_fields.clean_ae_title(self.cleaned_data["ae_title"])

    def clean_network(self) -> str:
        return peer_fields.clean_network(self.cleaned_data["network"])

    def clean_certificate(self) -> str:
        certificate = peer_fields.clean_certificate(self.cleaned_data["certificate"])
        if certificate and not settings.DIMSE_TLS_PORT:
            raise forms.ValidationError(
                "TLS is off on this platform, so no device can show a certificate: ask the operator, or leave it empty."
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
            peer = services.add_peer(**form.cleaned_data, by=actor_of(request))
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, f"{peer} may send from now on.")
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
    }
    form = PeerForm(posted, initial=shown)
    if request.method == "POST" and form.is_valid():
        try:
            changed = services.change_peer(peer_id=peer_id, **form.cleaned_data, by=actor_of(request))
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, f"Saved: {changed}.")
            return redirect("portal:peers")
    return render(request, "portal/settings/peer.html", {"peer": found, "form": form})


@require_POST
@members_only
def remove(request: MemberRequest, peer_id: UUID) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    removed = services.remove_peer(peer_id=peer_id, by=actor_of(request))
    messages.success(request, f"{removed} is refused from now on.")
    return redirect("portal:peers")


def _of_refusal(refusals: list[Refusal], refusal_id: str | None) -> dict[str, str]:
    """The initial values of the form for a caller that was refused."""
    chosen = next((each for each in refusals if str(each.pk) == refusal_id), None)
    return {"ae_title": chosen.ae_title, "network": chosen.address} if chosen else {}
