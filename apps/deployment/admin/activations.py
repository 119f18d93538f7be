"""Console pages of what is in service, of activation requests and of the ledger, with the forms that change it."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.audit.services import actor_of
from apps.core.errors import ConflictError
from apps.core.html_tables import table
from apps.deployment.admin.effects import points_table, rolled_back, served_table
from apps.deployment.admin.release_checks import with_release_checks
from apps.deployment.ledger.lost_points import lost_points, lost_points_warning
from apps.deployment.ledger.rollback import rollback_description
from apps.deployment.models import Activation, ActivationRequest, Deployment
from apps.deployment.release_gates import platform_version
from apps.deployment.selectors import version_for
from apps.deployment.services import approve, roll_back, unpin, withdraw_request
from apps.tenants.models import PLATFORM, Tenant
from apps.tenants.operator_admin import OperatorAdmin, ScopeFilter, reference, run_service


class ReasonForm(forms.Form):
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}), help_text="The ledger keeps this reason permanently."
    )


class UnpinForm(ReasonForm):
    keeps_points = forms.BooleanField(
        required=False,
        initial=True,
        label="Keep what tenants chose",
        help_text="Carry over their sensitivity or share of flagged studies; else the version's own points apply.",
    )
    field_order: Sequence[str] = ("keeps_points", "reason")


class ActivationForm(UnpinForm):
    tenant = forms.ModelChoiceField(
        Tenant.objects.order_by("name"),
        required=False,
        empty_label="The whole platform, except pinned tenants",
        label="For",
        help_text="A tenant that is chosen here is pinned: it keeps this version when the platform gets another one.",
    )
    despite_gate = forms.BooleanField(
        required=False,
        label="Override the release gate",
        help_text="Only where the floor or a gate was not passed. The ledger keeps it and your reason.",
    )
    why_no_preview = forms.CharField(
        required=False,
        label="Why without a preview",
        help_text="Needed where no preview above is current: the ledger names the previews, or this reason.",
    )
    field_order: Sequence[str] = ("tenant", "keeps_points", "despite_gate", "why_no_preview", "reason")


def decision_arguments(request: HttpRequest, form: forms.Form) -> dict[str, Any]:
    """The service arguments of every change: who and why."""
    return {"by": actor_of(request), "reason": form.cleaned_data["reason"]}


def redirect_after_change(
    page: OperatorAdmin, request: HttpRequest, made: Activation | ActivationRequest
) -> HttpResponseBase:
    """Log a change in the console, report what follows from it, and show the list where it appears."""
    if isinstance(made, ActivationRequest):
        page.log_change(request, made.to_version, f"Requested, {made.scope}: {made.reason}")
        messages.warning(request, made.waiting_message)
        return HttpResponseRedirect(reverse("admin:deployment_activationrequest_changelist"))
    page.log_change(request, made.to_version, f"{made.get_act_display()}, {made.scope}: {made.reason}")
    if warning := lost_points_warning(made):
        messages.warning(request, warning)
    if made.act in Activation.TRIALS:
        messages.success(request, f"{made.to_version}, {made.scope}: {made.get_act_display().lower()}.")
        return HttpResponseRedirect(reverse("admin:deployment_challenger_changelist"))
    messages.success(
        request,
        format_html(
            "In service for {}: {} (before: {}). Each worker keeps its present version until it has loaded this one; "
            '<a href="{}">Workers</a> shows which have.',
            made.scope,
            made.to_version,
            reference(made.from_version),
            reverse("admin:inference_worker_changelist"),
        ),
    )
    return HttpResponseRedirect(reverse("admin:deployment_deployment_changelist"))


@admin.register(Deployment)
class DeploymentAdmin(OperatorAdmin):
    list_display = ("scope", "model_version", "since", "rollback")
    list_display_links = None
    list_select_related = ("for_tenant", "model_version")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Deployment]":
        return super().get_queryset(request).order_by(F("for_tenant__name").asc(nulls_first=True))

    @admin.display(description="For")
    def scope(self, deployment: Deployment) -> Any:
        return deployment.for_tenant or PLATFORM.capitalize()

    @admin.display(description="Rollback")
    def rollback(self, deployment: Deployment) -> SafeString | str:
        roll_back_at = reverse("admin:deployment_deployment_roll_back")
        target = rollback_description(deployment.for_tenant_id, deployment.model_version)
        query = f"?tenant={deployment.for_tenant.slug}" if deployment.for_tenant else ""
        back = (
            format_html('<a href="{}{}">{}</a>', roll_back_at, query, target) if target else "Nothing to roll back to"
        )
        if deployment.for_tenant is None:
            return back
        return format_html(
            '{} · <a href="{}">Follow the platform again</a>',
            back,
            reverse("admin:deployment_deployment_unpin", args=[deployment.for_tenant.slug]),
        )

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("roll-back/", wrap(self.roll_back_view), name="deployment_deployment_roll_back"),
            path("unpin/<slug:slug>/", wrap(self.unpin_view), name="deployment_deployment_unpin"),
            *super().get_urls(),
        ]

    def roll_back_view(self, request: HttpRequest) -> HttpResponseBase:
        slug = request.GET.get("tenant")
        tenant = get_object_or_404(Tenant, slug=slug) if slug else None
        own_first = Deployment.objects.filter(Q(for_tenant=tenant) | Q(for_tenant=None)).order_by("for_tenant")
        deployment = own_first.select_related("model_version").first()
        serving = deployment.model_version if deployment else None
        try:
            explanation, effect = rolled_back(tenant, serving)
        except ConflictError as error:
            explanation, effect = error.detail, SafeString()
        return self._act(
            request,
            roll_back,
            tenant,
            title=f"Roll back: {tenant or PLATFORM}",
            explanation=explanation,
            effect=effect,
            submit="Roll back",
        )

    def unpin_view(self, request: HttpRequest, slug: str) -> HttpResponseBase:
        tenant, after = get_object_or_404(Tenant, slug=slug), platform_version()
        return self._act(
            request,
            unpin,
            tenant,
            title=f"{tenant}: follow the platform again",
            explanation="The platform's version reads for this tenant as soon as a worker has loaded it.",
            effect=served_table([(tenant, version_for(tenant.pk), after)]),
            form_class=UnpinForm,
            submit="Follow the platform",
        )

    def _act(
        self,
        request: HttpRequest,
        service: Callable[..., Activation],
        tenant: Tenant | None,
        form_class: type[ReasonForm] = ReasonForm,
        **page: str,
    ) -> HttpResponseBase:
        form = form_class(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            chosen = {name: value for name, value in form.cleaned_data.items() if name == "keeps_points"}
            entry = run_service(form, service, tenant=tenant, **chosen, **decision_arguments(request, form))
            if entry is not None:
                return redirect_after_change(self, request, entry)
        return self.page(request, back_to=reverse("admin:deployment_deployment_changelist"), form=form, **page)


@admin.register(Activation)
class ActivationAdmin(OperatorAdmin):
    list_display = ("number", "at", "scope", "act", "versions", "who", "reason")
    list_filter = ("act", ("for_tenant", ScopeFilter))
    fields = (
        "number", "at", "scope", "act", "percent", "label", "from_version", "to_version", "by", "actor", "second",
        "reason", "change_plan", "recalibration", "recalibration_before", "seen", "overridden", "missing_points",
        "own_points", "chosen",
    )  # fmt: skip
    readonly_fields = fields
    list_select_related = ("from_version", "to_version", "for_tenant", "by")

    @admin.display(description="By")
    def who(self, activation: Activation) -> Any:
        return activation.who

    @admin.display(description="For")
    def scope(self, activation: Activation) -> Any:
        return activation.scope

    @admin.display(description="From → to")
    def versions(self, activation: Activation) -> str:
        return f"{reference(activation.from_version)} → {activation.to_version}{_share(activation.percent)}"

    @admin.display(description="Previews (SHA-256)")
    def seen(self, activation: Activation) -> SafeString | str:
        names = {str(tenant.pk): tenant.name for tenant in Tenant.objects.filter(pk__in=activation.previews)}
        rows = [(names[key], sha256) for key, sha256 in activation.previews.items()]
        return table(("For", "Preview"), rows) if rows else f"None. {activation.why_no_preview}"

    @admin.display(description="Floor and release gates overridden")
    def overridden(self, activation: Activation) -> SafeString | str:
        rows = [(gate["set"], gate["reason"]) for gate in activation.despite_gates]
        return table(("Floor or set", "Why it was not passed"), rows) if rows else "–"

    @admin.display(description="Lost operating points")
    def missing_points(self, activation: Activation) -> str:
        return ", ".join(lost_points(activation)) or "–"

    @admin.display(description="The version's own thresholds")
    def own_points(self, activation: Activation) -> SafeString | str:
        points = activation.thresholds.items()
        rows = [(label, f"{point['value']:.3f}" if point else "none") for label, point in points]
        return table(("Finding", "Positive from"), rows) if rows else "–"

    @admin.display(description="What tenants chose")
    def chosen(self, activation: Activation) -> SafeString | str:
        before = (activation.from_version, activation.points_before)
        return points_table(before, (activation.to_version, activation.points_after)) or "Nothing."


@admin.register(ActivationRequest)
class ActivationRequestAdmin(OperatorAdmin):
    """Activations and canaries that one operator requested and another one confirms."""

    list_display = ("at", "scope", "versions", "who", "status")
    list_select_related = ("for_tenant", "from_version", "to_version", "line", "by", "replaced_by")
    fields = (
        "at",
        "scope",
        "versions",
        "keeps_points",
        "despite_gate",
        "why_no_preview",
        "by",
        "actor",
        "reason",
        "status",
    )
    readonly_fields = fields

    @admin.display(description="For")
    def scope(self, request: ActivationRequest) -> Any:
        return request.scope

    @admin.display(description="From → to")
    def versions(self, request: ActivationRequest) -> str:
        return f"{reference(request.from_version)} → {request.to_version}{_share(request.percent)}"

    @admin.display(description="Requested by")
    def who(self, request: ActivationRequest) -> Any:
        return request.who

    @admin.display(description="Status")
    def status(self, request: ActivationRequest) -> str:
        if request.line is not None:
            return f"Confirmed: ledger entry {request.line.number}"
        if hasattr(request, "replaced_by"):
            return f"Replaced by {request.replaced_by.who}'s request for {request.replaced_by}"
        return "Withdrawn" if request.withdrawn else "Waits for a second operator"

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:request_id>/confirm/", wrap(self.confirm_view), name="deployment_activationrequest_confirm"),
            path("<uuid:request_id>/withdraw/", wrap(self.withdraw_view), name="deployment_activationrequest_withdraw"),
            *super().get_urls(),
        ]

    def confirm_view(self, request: HttpRequest, request_id: UUID) -> HttpResponseBase:
        waiting = get_object_or_404(ActivationRequest, pk=request_id)
        form = forms.Form(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            entry = run_service(form, approve, request=waiting, by=actor_of(request))
            if entry is not None:
                return redirect_after_change(self, request, entry)
        page = self.page(
            request,
            title=f"Confirm: {waiting}",
            explanation=_explanation(waiting),
            back_to=reverse("admin:deployment_activationrequest_changelist"),
            form=form,
            submit="Put into service" if waiting.percent is None else "Start the canary",
        )
        served = served_table([(waiting.for_tenant, waiting.from_version, waiting.to_version)])
        return with_release_checks(page, request, waiting.to_version, serving=waiting.from_version, served=served)

    def withdraw_view(self, request: HttpRequest, request_id: UUID) -> HttpResponseBase:
        waiting = get_object_or_404(ActivationRequest, pk=request_id)
        form = forms.Form(request.POST if request.method == "POST" else None)
        back_to = reverse("admin:deployment_activationrequest_changelist")
        if request.method == "POST" and form.is_valid() and run_service(form, withdraw_request, request=waiting):
            self.log_change(request, waiting.to_version, f"Withdrew the request, {waiting.scope}.")
            return HttpResponseRedirect(back_to)
        return self.page(request, title=f"Withdraw: {waiting}", back_to=back_to, form=form, submit="Withdraw")


def _explanation(waiting: ActivationRequest) -> str:
    points = "What tenants chose is kept" if waiting.keeps_points else "The version's own operating points apply"
    gate = " It overrides the floor and the release gates." if waiting.despite_gate else ""
    gate += f" Without a preview: {waiting.why_no_preview.rstrip('.')}." if waiting.why_no_preview else ""
    reason = (waiting.reason or "no reason given").rstrip(".")
    return f"{waiting.who} requested it: {reason}. It replaces {reference(waiting.from_version)}. {points}.{gate}"


def _share(percent: int | None) -> str:
    return "" if percent is None else f" ({percent} %)"
