"""Console page of challengers: start, change and end a trial, and compare it in numbers over all hospitals."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from apps.audit.operator_access import record_operator_access
from apps.core.html_tables import table
from apps.deployment.admin.activations import ActivationForm, ReasonForm, decision_arguments, redirect_after_change
from apps.deployment.admin.release_checks import with_release_checks
from apps.deployment.models import Challenger, Deployment
from apps.deployment.release_gates import platform_version
from apps.deployment.services import challenge_or_request, end_challenge
from apps.registry.models import ModelVersion
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import PLATFORM
from apps.tenants.operator_admin import OperatorAdmin, reference, run_service
from apps.trials.disagreement import canary_of_all_tenants, comparison_of_all_tenants
from apps.trials.recommendation import recommend

MOST_IDS = 500


class ChallengeForm(ActivationForm):
    mode = forms.ChoiceField(
        choices=Challenger.Mode,
        label="As",
        help_text="A shadow reads the same films, and no clinician sees its results. A canary reads for patients.",
    )
    percent = forms.IntegerField(
        required=False, min_value=1, max_value=99, label="Per cent", help_text="The share of studies for a canary."
    )
    # A trial is itself the way to see what would change.
    why_no_preview = None  # type: ignore[assignment]
    field_order: Sequence[str] = ("tenant", "mode", "percent", "keeps_points", "despite_gate", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tenant: Any = self.fields["tenant"]
        tenant.empty_label = "All tenants that have neither a version nor a challenger of their own"
        tenant.help_text = ""

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if (given.get("mode") == Challenger.Mode.CANARY) != (given.get("percent") is not None):
            raise forms.ValidationError("Give the share of studies for a canary, and none for a shadow.")
        return given


@admin.register(Challenger)
class ChallengerAdmin(OperatorAdmin):
    list_display = ("model_version", "scope", "how", "against", "since", "status", "actor")
    list_select_related = ("for_tenant", "model_version", "against")
    fields = ("model_version", "scope", "how", "against", "since", "status", "actor", "reason")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Challenger]":
        return super().get_queryset(request).order_by("-id")

    @admin.display(description="For")
    def scope(self, row: Challenger) -> Any:
        return row.scope

    @admin.display(description="As")
    def how(self, row: Challenger) -> str:
        return row.how

    @admin.display(description="Status")
    def status(self, row: Challenger) -> str:
        return f"Ended {row.ended:%Y-%m-%d %H:%M}" if row.ended else "Under way"

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        disagreement = wrap(self.disagreement_view)
        # The page reads every tenant that it counts, also where the operator is signed in to one of them.
        opens_own_transaction(disagreement)
        return [
            path("start/<uuid:version_id>/", wrap(self.start_view), name="deployment_challenger_start"),
            path("<uuid:challenger_id>/end/", wrap(self.end_view), name="deployment_challenger_end"),
            path("<uuid:challenger_id>/disagreement/", disagreement, name="deployment_challenger_disagreement"),
            *super().get_urls(),
        ]

    def start_view(self, request: HttpRequest, version_id: UUID) -> HttpResponseBase:
        version = get_object_or_404(ModelVersion, pk=version_id)
        form = ChallengeForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            chosen = {name: form.cleaned_data[name] for name in ("tenant", "percent", "keeps_points", "despite_gate")}
            made = run_service(
                form, challenge_or_request, version=version, **chosen, **decision_arguments(request, form)
            )
            if made is not None:
                return redirect_after_change(self, request, made)
        page = self.page(
            request,
            title=f"Try {version} out",
            explanation=(
                "It reads beside the version in service, and is compared with it. If it is on trial already, this "
                "changes the mode or the share."
            ),
            back_to=reverse("admin:registry_modelversion_change", args=[version.pk]),
            form=form,
            submit="Try it out",
        )
        return with_release_checks(page, request, version, serving=platform_version(), served=_trials())

    def end_view(self, request: HttpRequest, challenger_id: UUID) -> HttpResponseBase:
        row = get_object_or_404(Challenger, pk=challenger_id, ended=None)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            entry = run_service(form, end_challenge, tenant=row.for_tenant, **decision_arguments(request, form))
            if entry is not None:
                return redirect_after_change(self, request, entry)
        return self.page(
            request,
            title=f"End the trial: {row}",
            explanation="What it has read is kept for the comparison. Its waiting readings are dropped.",
            back_to=reverse("admin:deployment_challenger_change", args=[row.pk]),
            form=form,
            submit="End the trial",
        )

    def disagreement_view(self, request: HttpRequest, challenger_id: UUID) -> HttpResponse:
        """Numbers over all hospitals, and ids of studies; only a hospital's own page shows its films."""
        row = get_object_or_404(Challenger.objects.select_related(*self.list_select_related), pk=challenger_id)
        found, by_tenant = comparison_of_all_tenants(row)
        record_operator_access(request, [tenant.pk for tenant in by_tenant], object_id=row.pk)
        label = request.GET.get("label", "")
        disputed = [
            (tenant, [pair.study_id for pair in pairs if not label or label in pair.disputed][:MOST_IDS])
            for tenant, pairs in by_tenant.items()
        ]
        context = self.admin_site.each_context(request) | {
            "title": f"Disagreement: {row.model_version} and {row.against}",
            "opts": self.opts,
            "challenger": row,
            "found": found,
            "canary": canary_of_all_tenants(row),
            "advice": recommend(found),
            "label": label,
            "disputed": disputed,
        }
        return TemplateResponse(request, "admin/deployment/challenger/disagreement.html", context)


def _trials() -> SafeString:
    """What serves and what is on trial now, for the platform and for tenants of their own."""
    rows = Deployment.objects.select_related("for_tenant", "model_version")
    serving = {row.for_tenant: row.model_version for row in rows}
    running = Challenger.objects.filter(ended=None).select_related("for_tenant", "model_version")
    trials = {row.for_tenant: f"{row.model_version}, {row.how}" for row in running}
    own = sorted((tenant for tenant in {*serving, *trials} if tenant is not None), key=str)
    scopes = (None, *own)
    cells = [(each or PLATFORM.capitalize(), reference(serving.get(each)), trials.get(each, "–")) for each in scopes]
    return table(("For", "In service", "On trial now; a new trial replaces it"), cells)
