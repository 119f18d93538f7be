"""Hospital settings, Destinations: where results and events go, what arrived there, and what did not."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST

from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.events.models import TenantEvent
from apps.portal.access import MemberRequest, members_only
from apps.results import destinations as services
from apps.results.destinations import LONGEST_NAME, DestinationSettings
from apps.results.models import ResultKind
from apps.results.selectors import deliveries_to, listed_destinations
from apps.routing.models import URL_LENGTH, Destination, Peer
from apps.tenants.models import Role
from apps.tenants.services import allowed_networks, require_role

Kind = Destination.Kind
_LONGEST_PEM = 100_000


class DestinationForm(forms.Form):
    """What all kinds share."""

    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=LONGEST_NAME, help_text=gettext_lazy("For you and your colleagues.")
    )

    def chosen(self) -> DestinationSettings:
        return DestinationSettings(**self.cleaned_data)


class DimseForm(DestinationForm):
    peer_id = forms.ModelChoiceField(
        Peer.objects.none(),
        label=gettext_lazy("DICOM peer"),
        help_text=gettext_lazy("A peer with host and port, as listed under DICOM peers."),
    )
    contents = forms.MultipleChoiceField(
        label=gettext_lazy("It gets"), choices=ResultKind.choices, widget=forms.CheckboxSelectMultiple
    )

    asks_commitment = forms.BooleanField(
        label=gettext_lazy("Ask for storage commitment"),
        required=False,
        help_text=gettext_lazy(
            "The peer confirms that it keeps each object, on an association to our listener; what it does not keep is "
            "sent again. List our AE title, host and port there."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        peers: Any = self.fields["peer_id"]
        peers.queryset = Peer.objects.exclude(host="").order_by("ae_title")

    def clean_peer_id(self) -> UUID:
        peer: Peer = self.cleaned_data["peer_id"]
        return peer.pk


class UrlForm(DestinationForm):
    url = forms.CharField(
        label="URL", max_length=URL_LENGTH, widget=forms.TextInput(attrs={"inputmode": "url", "autocomplete": "off"})
    )


class StowForm(UrlForm):
    contents = forms.MultipleChoiceField(
        label=gettext_lazy("It gets"), choices=ResultKind.choices, widget=forms.CheckboxSelectMultiple
    )
    token = forms.CharField(
        label=gettext_lazy("Bearer token"),
        max_length=10_000,
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    client_certificate = forms.CharField(
        label=gettext_lazy("Client certificate"),
        max_length=_LONGEST_PEM,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=gettext_lazy("In PEM, with its chain. Only where the receiver asks for one."),
    )
    client_key = forms.CharField(
        label=gettext_lazy("Private key of the client certificate"),
        max_length=_LONGEST_PEM,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocomplete": "off"}),
        help_text=gettext_lazy("In PEM, without a passphrase. It is stored encrypted and never shown again."),
    )
    authorities = forms.CharField(
        label=gettext_lazy("CA certificates"),
        max_length=_LONGEST_PEM,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=gettext_lazy("In PEM. Only for a receiver whose certificate is of the hospital's own authority."),
    )
    forget = forms.BooleanField(label=gettext_lazy("Remove the stored token and client certificate"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.row: Destination | None = kwargs.pop("row", None)
        super().__init__(*args, **kwargs)
        self.fields["url"].help_text = gettext(
            "Of the studies resource, such as https://pacs.example/dicom-web/studies."
        )
        if self.row is None:
            del self.fields["forget"]
        else:
            keep = gettext("Empty: the stored one stays.")
            stored = gettext("Stored. Empty: it stays.")
            self.fields["token"].help_text = stored if self.row.token_encrypted else ""
            if self.row.client_certificate:
                self.fields["client_certificate"].help_text = stored
                self.fields["client_key"].help_text = keep

    def chosen(self) -> DestinationSettings:
        values = dict(self.cleaned_data)
        forget = values.pop("forget", False)
        for name in ("token", "client_certificate"):
            # An empty field keeps what is stored.
            values[name] = values[name] or ("" if forget else None)
        return DestinationSettings(**values)


class WebhookForm(UrlForm):
    contents = forms.MultipleChoiceField(
        label=gettext_lazy("Events"),
        choices=[(each.value, f"{each.value}: {each.label}") for each in TenantEvent.Type],
        widget=forms.CheckboxSelectMultiple,
    )


def _form(kind: str, posted: Any, row: Destination | None = None) -> DestinationForm:
    """The form of a kind, filled with what is stored of a destination; credentials are never shown."""
    initial: dict[str, Any] | None = None
    if row is not None:
        initial = {
            "name": row.name,
            "peer_id": row.peer_id,
            "url": row.url,
            "contents": row.contents,
            "authorities": row.authorities,
            "asks_commitment": row.asks_commitment,
        }
    if kind == Kind.STOW:
        return StowForm(posted, initial=initial, row=row)
    return {Kind.DIMSE.value: DimseForm, Kind.WEBHOOK.value: WebhookForm}[kind](posted, initial=initial)


@require_http_methods(["GET"])
@members_only
def destination_list(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    context = {
        "destinations": listed_destinations(),
        "kinds": [(each.value, each.label) for each in Kind],
        "networks": allowed_networks(request.tenant),
    }
    return render(request, "portal/settings/destinations.html", context)


@require_http_methods(["GET", "POST"])
@members_only
def new_destination(request: MemberRequest, kind: str) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    if kind not in Kind.values:
        raise Http404
    form = _form(kind, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            row, secret = services.add_destination(
                kind=kind, chosen=form.chosen(), caller=request.membership, by=actor_of(request)
            )
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            if secret:
                return _show_secret(request, row, secret)
            messages.success(request, gettext("Saved. What is made from now on is sent there. Send a test first."))
            return redirect("portal:destination", row.pk)
    context = {"form": form, "kind": Kind(kind), "networks": allowed_networks(request.tenant)}
    return render(request, "portal/settings/new_destination.html", context)


@require_http_methods(["GET", "POST"])
@members_only
def destination(request: MemberRequest, destination_id: UUID) -> HttpResponse:
    """What was sent to a destination, and the form that changes it."""
    require_role(request.membership, Role.ADMIN)
    row = services.find_destination(destination_id)
    form = _form(row.kind, request.POST if request.method == "POST" else None, row)
    if request.method == "POST" and form.is_valid():
        try:
            services.change_destination(
                destination_id=destination_id,
                chosen=form.chosen(),
                caller=request.membership,
                by=actor_of(request),
            )
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, gettext("Saved. What waits is sent at once."))
            return redirect("portal:destination", destination_id)
        row = services.find_destination(destination_id)
    only_failed = "failed" in request.GET
    (listed,) = [each for each in listed_destinations() if each.row.pk == destination_id]
    context = {
        "row": row,
        "listed": listed,
        "form": form,
        "deliveries": deliveries_to(row, only_failed=only_failed),
        "only_failed": only_failed,
    }
    return render(request, "portal/settings/destination.html", context)


@require_POST
@members_only
def test(request: MemberRequest, destination_id: UUID) -> HttpResponse:
    services.send_test(destination_id=destination_id, caller=request.membership, by=actor_of(request))
    messages.success(request, gettext("A test was queued: reload the page to see its outcome."))
    return redirect("portal:destination", destination_id)


@require_POST
@members_only
def switch(request: MemberRequest, destination_id: UUID) -> HttpResponse:
    is_enabled = request.POST.get("is_enabled") == "1"
    row = services.switch_destination(
        destination_id=destination_id, is_enabled=is_enabled, caller=request.membership, by=actor_of(request)
    )
    text = gettext("%(name)s is switched on.") if is_enabled else gettext("%(name)s is switched off.")
    messages.success(request, text % {"name": row.name})
    return redirect("portal:destination", destination_id)


@require_POST
@members_only
def remove(request: MemberRequest, destination_id: UUID) -> HttpResponse:
    row = services.remove_destination(destination_id=destination_id, caller=request.membership, by=actor_of(request))
    messages.success(request, gettext("%(name)s was removed.") % {"name": row.name})
    return redirect("portal:destinations")


@require_POST
@members_only
def renew_secret(request: MemberRequest, destination_id: UUID) -> HttpResponse:
    secret = services.renew_webhook_secret(
        destination_id=destination_id, caller=request.membership, by=actor_of(request)
    )
    return _show_secret(request, services.find_destination(destination_id), secret)


@require_POST
@members_only
def repeat_failed(request: MemberRequest, destination_id: UUID) -> HttpResponse:
    number = services.repeat_failed(destination_id=destination_id, caller=request.membership, by=actor_of(request))
    text = ngettext("%(number)d delivery is sent again.", "%(number)d deliveries are sent again.", number)
    messages.success(request, text % {"number": number})
    return redirect("portal:destination", destination_id)


@require_POST
@members_only
def repeat(request: MemberRequest, delivery_id: UUID) -> HttpResponse:
    delivery = services.repeat_delivery(delivery_id=delivery_id, caller=request.membership, by=actor_of(request))
    messages.success(request, gettext("It is sent again, under its old id."))
    return redirect("portal:destination", delivery.destination_id)


def _show_secret(request: MemberRequest, row: Destination, secret: str) -> HttpResponse:
    return render(request, "portal/settings/destination_secret.html", {"row": row, "secret": secret})
