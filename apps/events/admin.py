"""Console pages of model events, webhook endpoints and deliveries."""

from typing import ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from apps.core.errors import ChecxrayError
from apps.core.outbound import check_url
from apps.core.work_queue import JobState
from apps.events.models import ModelEvent, WebhookDelivery, WebhookEndpoint
from apps.events.services import create_endpoint, ping, renew_secret, replay
from apps.tenants.models import PLATFORM, Tenant
from apps.tenants.operator_admin import OperatorAdmin, run_service

_WIDE = forms.TextInput(attrs={"size": 60})
_DELIVERIES = "admin:events_webhookdelivery_changelist"


class EndpointForm(forms.Form):
    url = forms.CharField(
        max_length=2000, label="Address", widget=_WIDE, help_text="The URL to which messages are posted."
    )
    description = forms.CharField(max_length=200, required=False, help_text="The system that receives the messages.")
    types = forms.MultipleChoiceField(
        choices=ModelEvent.Type.choices,
        initial=ModelEvent.Type.values,
        widget=forms.CheckboxSelectMultiple,
        label="Events",
    )
    for_tenant = forms.ModelChoiceField(
        Tenant.objects.order_by("name"),
        required=False,
        empty_label=PLATFORM,
        label="Hospital",
        help_text="Only events of this hospital. Critical findings go to an endpoint of their hospital alone.",
    )


class EndpointChangeForm(forms.ModelForm):
    types = forms.MultipleChoiceField(
        choices=ModelEvent.Type.choices, widget=forms.CheckboxSelectMultiple, label="Events"
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("url", "description", "types", "for_tenant", "is_enabled")
        widgets: ClassVar = {"url": _WIDE}

    def clean_url(self) -> str:
        try:
            check_url(self.cleaned_data["url"])
        except ChecxrayError as error:
            raise forms.ValidationError(error.detail) from error
        return self.cleaned_data["url"]


@admin.register(ModelEvent)
class ModelEventAdmin(OperatorAdmin):
    list_display = ("at", "type", "version", "scope", "line")
    list_filter = ("type",)
    list_select_related = ("for_tenant",)
    fields = ("at", "type", "version", "scope", "line", "about")
    readonly_fields = fields
    json_files: ClassVar = {"data": lambda event: event.data}

    @admin.display(description="Data")
    def about(self, event: ModelEvent) -> SafeString:
        return self.shown_json(event, "data")

    @admin.display(description="Model version")
    def version(self, event: ModelEvent) -> str:
        return str(event.data["version"])

    @admin.display(description="Ledger entry")
    def line(self, event: ModelEvent) -> int | None:
        number: int | None = event.data.get("line")
        return number

    @admin.display(description="For")
    def scope(self, event: ModelEvent) -> str:
        return str(event.for_tenant or PLATFORM)


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(OperatorAdmin):
    is_writable = True
    form = EndpointChangeForm
    list_display = ("__str__", "url", "for_tenant", "is_enabled", "undelivered", "created")
    fields = ("url", "description", "types", "for_tenant", "is_enabled", "disabled_because", "secret_made", "created")
    readonly_fields = ("disabled_because", "secret_made", "created")

    @admin.display(description="Failed deliveries")
    def undelivered(self, endpoint: WebhookEndpoint) -> int:
        return endpoint.deliveries.filter(state__in=[JobState.FAILED, JobState.REJECTED]).count()

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: forms.ModelForm, change: bool) -> None:
        if obj.is_enabled:
            obj.disabled_because = ""
        super().save_model(request, obj, form, change)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:endpoint_id>/ping/", wrap(self.ping_view), name="events_webhookendpoint_ping"),
            path("<uuid:endpoint_id>/secret/", wrap(self.secret_view), name="events_webhookendpoint_secret"),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: object = None) -> HttpResponse:
        form = EndpointForm(request.POST if request.method == "POST" else None)
        title, back_to = "Add a webhook", reverse("admin:events_webhookendpoint_changelist")
        if request.method == "POST" and form.is_valid():
            made = run_service(form, create_endpoint, **form.cleaned_data)
            if made is not None:
                endpoint, secret = made
                self.log_addition(request, endpoint, f"Messages go to {endpoint.url}.")
                return self.page(request, title=title, back_to=back_to, secret=secret)
        return self.page(request, title=title, back_to=back_to, form=form, submit="Add, and show the secret")

    def ping_view(self, request: HttpRequest, endpoint_id: UUID) -> HttpResponseBase:
        endpoint = get_object_or_404(WebhookEndpoint, pk=endpoint_id)
        form = forms.Form(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid() and run_service(form, ping, endpoint=endpoint):
            messages.success(request, "A ping was queued: reload to see its result.")
            return HttpResponseRedirect(f"{reverse(_DELIVERIES)}?endpoint__id__exact={endpoint.pk}")
        return self.page(request, title=f"Ping {endpoint}", back_to=_page_of(endpoint), form=form, submit="Send a ping")

    def secret_view(self, request: HttpRequest, endpoint_id: UUID) -> HttpResponseBase:
        endpoint = get_object_or_404(WebhookEndpoint, pk=endpoint_id)
        title, back_to = f"New secret for {endpoint}", _page_of(endpoint)
        if request.method == "POST":
            secret = renew_secret(endpoint=endpoint)
            self.log_change(request, endpoint, "Made a new secret.")
            return self.page(request, title=title, back_to=back_to, secret=secret)
        return self.page(
            request,
            title=title,
            explanation="For 24 hours messages are signed with the former secret as well; then it is invalid.",
            back_to=back_to,
            form=forms.Form(),
            submit="Make a new secret",
        )


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(OperatorAdmin):
    list_display = ("created", "kind", "endpoint", "state", "attempts", "response_status", "reason", "due")
    list_filter = ("state", "endpoint")
    list_select_related = ("endpoint", "event")
    fields = (
        "endpoint", "event", "message_id", "state", "attempts", "response_status", "reason", "due", "created",
        "finished", "body",
    )  # fmt: skip
    readonly_fields = fields
    json_files: ClassVar = {"message": lambda delivery: delivery.message}

    @admin.display(description="Message")
    def body(self, delivery: WebhookDelivery) -> SafeString:
        return self.shown_json(delivery, "message")

    @admin.display(description="Event")
    def kind(self, delivery: WebhookDelivery) -> str:
        return str(delivery.message["type"])

    @admin.display(description="Next attempt")
    def due(self, delivery: WebhookDelivery) -> object:
        return delivery.run_after if delivery.state == JobState.QUEUED else None

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.replay_view)
        return [path("<uuid:delivery_id>/replay/", view, name="events_webhookdelivery_replay"), *super().get_urls()]

    def replay_view(self, request: HttpRequest, delivery_id: UUID) -> HttpResponseBase:
        delivery = get_object_or_404(WebhookDelivery.objects.select_related("endpoint", "event"), pk=delivery_id)
        form = forms.Form(request.POST if request.method == "POST" else None)
        back_to = reverse("admin:events_webhookdelivery_change", args=[delivery.pk])
        if request.method == "POST" and form.is_valid():
            run_service(form, replay, delivery=delivery)
            if form.is_valid():
                self.log_change(request, delivery, "Sent again.")
                return HttpResponseRedirect(back_to)
        return self.page(
            request,
            title=f"Send again: {delivery}",
            explanation="With its old id, so that a receiver can recognise a message that it has already.",
            back_to=back_to,
            form=form,
            submit="Send again",
        )


def _page_of(endpoint: WebhookEndpoint) -> str:
    return reverse("admin:events_webhookendpoint_change", args=[endpoint.pk])
