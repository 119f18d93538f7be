"""Console page of stops: an operator stops the AI for a tenant, or one label of it, and starts it again."""

from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.deployment.admin.activations import ReasonForm, decision_arguments
from apps.deployment.models import AiStop
from apps.deployment.services import start_ai, stop_ai
from apps.deployment.stops import AI_STOPPED
from apps.registry import engine
from apps.tenants.models import Tenant
from apps.tenants.operator_admin import OperatorAdmin, ScopeFilter, run_service


class StopForm(ReasonForm):
    tenant = forms.ModelChoiceField(Tenant.objects.order_by("name"), label="For")
    label = forms.ChoiceField(
        choices=[("", "The whole AI"), *((label, label) for label in engine.LABELS)], required=False, label="Stop"
    )
    field_order = ("tenant", "label", "reason")


@admin.register(AiStop)
class AiStopAdmin(OperatorAdmin):
    list_display = ("for_tenant", "what", "since", "actor", "reason", "start")
    list_display_links = None
    list_filter = (("for_tenant", ScopeFilter),)
    list_select_related = ("for_tenant",)

    @admin.display(description="Stopped")
    def what(self, stop: AiStop) -> str:
        return stop.label or "The whole AI"

    @admin.display(description="Start")
    def start(self, stop: AiStop) -> SafeString:
        return format_html('<a href="{}">Start again</a>', reverse("admin:deployment_aistop_start", args=[stop.pk]))

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("stop/", wrap(self.stop_view), name="deployment_aistop_stop"),
            path("<uuid:stop_id>/start/", wrap(self.start_view), name="deployment_aistop_start"),
            *super().get_urls(),
        ]

    def stop_view(self, request: HttpRequest) -> HttpResponseBase:
        form = StopForm(request.POST if request.method == "POST" else None)
        back_to = reverse("admin:deployment_aistop_changelist")
        if request.method == "POST" and form.is_valid():
            chosen = {name: form.cleaned_data[name] for name in ("tenant", "label")}
            entry = run_service(form, stop_ai, **chosen, **decision_arguments(request, form))
            if entry is not None:
                self.log_change(request, entry.to_version, f"AI stopped, {entry.scope}: {entry.reason}")
                messages.success(request, f"Stopped from the next result on: {entry.scope}.")
                return HttpResponseRedirect(back_to)
        return self.page(
            request,
            title="Stop the AI",
            explanation="At once. Studies are stored, listed and reported as before, and marked “AI stopped”.",
            back_to=back_to,
            form=form,
            submit="Stop",
        )

    def start_view(self, request: HttpRequest, stop_id: UUID) -> HttpResponseBase:
        stop = get_object_or_404(AiStop, pk=stop_id)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        back_to = reverse("admin:deployment_aistop_changelist")
        if request.method == "POST" and form.is_valid():
            target = {"tenant": stop.for_tenant, "label": stop.label}
            entry = run_service(form, start_ai, **target, **decision_arguments(request, form))
            if entry is not None:
                self.log_change(request, entry.to_version, f"AI started again, {entry.scope}: {entry.reason}")
                again = f"manage.py requeue_jobs --tenant {stop.for_tenant.slug} --state rejected --reason {AI_STOPPED}"
                messages.success(request, f"It reads again from the next result on. What arrived meanwhile: {again}")
                return HttpResponseRedirect(back_to)
        return self.page(
            request,
            title=f"Start again: {stop}",
            explanation=f"Stopped since {stop.since:%Y-%m-%d %H:%M} UTC by {stop.actor}: {stop.reason}",
            back_to=back_to,
            form=form,
            submit="Start again",
        )
