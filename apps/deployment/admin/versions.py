"""Console pages of model versions. A version is immutable; operators evaluate, activate and retire it here."""

from collections.abc import Iterable
from typing import ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from apps.audit.operator_access import record_operator_access
from apps.audit.services import actor_of
from apps.core.html_tables import figure, outline, table
from apps.deployment.admin.activations import ActivationForm, ReasonForm, decision_arguments, redirect_after_change
from apps.deployment.admin.effects import changes_everywhere, served_table
from apps.deployment.admin.previews import PreviewForm, preview_form, render_previews, tenants_previewed
from apps.deployment.admin.release_checks import floor_table, release_gates_table, with_release_checks
from apps.deployment.card.sections import card_sections, render_card_pdf
from apps.deployment.floor import floor_checks
from apps.deployment.release_gates import platform_version, release_gates_of
from apps.deployment.selectors import version_state, with_state
from apps.deployment.services import activate_or_request, request_evaluations, request_preview, retire
from apps.evaluation.admin.sets import jobs_table
from apps.evaluation.models import EvaluationSet
from apps.registry.models import ModelVersion
from apps.tenants.operator_admin import OperatorAdmin, download_pdf, run_service

_NO_SET = "There is no active evaluation set: add one first."


@admin.register(ModelVersion)
class ModelVersionAdmin(OperatorAdmin):
    list_display = ("__str__", "state", "architecture", "mean_auroc", "short_sha256", "registered")
    fields = (
        "__str__", "state", "training", "measured", "floor", "gates", "jobs", "architecture", "sha256", "device_uid",
        "registered", "input_space", "operating_points", "figures", "data", "card", "manifest_file",
    )  # fmt: skip
    readonly_fields = fields
    json_files: ClassVar = {"manifest": lambda version: {**version.manifest, "data": version.data}}
    # The state of each version takes several queries: its release gates compare it on every set.
    list_per_page = 25

    def get_queryset(self, request: HttpRequest) -> "QuerySet[ModelVersion]":
        return with_state(super().get_queryset(request))

    @admin.display(description="State")
    def state(self, version: ModelVersion) -> str:
        return version_state(version)

    @admin.display(description="Training")
    def training(self, version: ModelVersion) -> SafeString | str:
        return _links("admin:training_trainingrun_change", version.training_runs.all()) or "Registered from a folder"

    @admin.display(description="Evaluations")
    def measured(self, version: ModelVersion) -> SafeString | str:
        return _links("admin:evaluation_evaluation_change", version.evaluations.all()[:20]) or (
            "None yet: manage.py evaluate_model"
        )

    @admin.display(description="Floor")
    def floor(self, version: ModelVersion) -> SafeString:
        return floor_table(floor_checks(version, platform_version()))

    @admin.display(description="Release gates")
    def gates(self, version: ModelVersion) -> SafeString | str:
        return release_gates_table(release_gates_of(version))

    @admin.display(description="Evaluation jobs")
    def jobs(self, version: ModelVersion) -> SafeString | str:
        return jobs_table(version)

    @admin.display(description="SHA-256")
    def short_sha256(self, version: ModelVersion) -> str:
        return version.sha256[:12]

    @admin.display(description="Mean AUROC")
    def mean_auroc(self, version: ModelVersion) -> str:
        measured = version.evaluations.exclude(mean_auroc=None).values_list("mean_auroc", "split_id").first()
        if measured is not None:
            return f"{measured[0]:.3f} ({measured[1]})"
        return figure(version.manifest["metrics"].get("test", {}), "mean_auroc")

    @admin.display(description="Input")
    def input_space(self, version: ModelVersion) -> str:
        space = version.manifest["input_space"]
        return f"{space['size']} × {space['size']}, {space['fit']}, {space['resize']}"

    @admin.display(description="Operating points")
    def operating_points(self, version: ModelVersion) -> SafeString:
        notes = version.manifest["threshold_notes"]
        return table(
            ("Finding", "Positive from", "Strategy", "Positive films"),
            [
                (label, f"{point['value']:.3f}", point["strategy"], point["positives"] or "not known")
                if point
                else (label, "none", notes.get(label, ""), "")
                for label, point in ((label, version.thresholds[label]) for label in version.manifest["labels"])
            ],
        )

    @admin.display(description="AUROC (95 % CI)")
    def figures(self, version: ModelVersion) -> SafeString | str:
        measured = version.manifest["metrics"].items()
        parts = {name: part for name, part in measured if isinstance(part, dict) and "labels" in part}
        if not parts:
            return "None came with it."
        rows = [("Mean", *(figure(part, "mean_auroc") for part in parts.values()))]
        rows += [
            (label, *(figure(part["labels"].get(label, {}), "auroc") for part in parts.values()))
            for label in version.manifest["labels"]
        ]
        return table(("Finding", *(name.capitalize() for name in parts)), rows)

    @admin.display(description="Data")
    def data(self, version: ModelVersion) -> SafeString | str:
        return outline(version.data)

    @admin.display(description="Manifest")
    def manifest_file(self, version: ModelVersion) -> SafeString:
        address = reverse("admin:registry_modelversion_manifest_json", args=[version.pk])
        return format_html('<a href="{}" download>Download as JSON</a>', address)

    @admin.display(description="Model card")
    def card(self, version: ModelVersion) -> SafeString:
        return format_html("<pre>{}</pre>", version.manifest["card"])

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:version_id>/activate/", wrap(self.activate_view), name="registry_modelversion_activate"),
            path("<uuid:version_id>/card/", wrap(self.card_view), name="registry_modelversion_card"),
            path("<uuid:version_id>/card.pdf", wrap(self.card_pdf_view), name="registry_modelversion_card_pdf"),
            path("<uuid:version_id>/evaluate/", wrap(self.evaluate_view), name="registry_modelversion_evaluate"),
            path("<uuid:version_id>/preview/", wrap(self.preview_view), name="registry_modelversion_preview"),
            path("<uuid:version_id>/previews/", wrap(self.previews_view), name="registry_modelversion_previews"),
            path("<uuid:version_id>/retire/", wrap(self.retire_view), name="registry_modelversion_retire"),
            *super().get_urls(),
        ]

    def activate_view(self, request: HttpRequest, version_id: UUID) -> HttpResponseBase:
        version = get_object_or_404(ModelVersion, pk=version_id)
        form = ActivationForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            names = ("tenant", "keeps_points", "despite_gate", "why_no_preview")
            chosen = {name: form.cleaned_data[name] for name in names}
            made = run_service(
                form, activate_or_request, version=version, **chosen, **decision_arguments(request, form)
            )
            if made is not None:
                return redirect_after_change(self, request, made)
        return self._activation_page(request, version, form, preview_form(version))

    def preview_view(self, request: HttpRequest, version_id: UUID) -> HttpResponseBase:
        version = get_object_or_404(ModelVersion, pk=version_id)
        back_to = reverse("admin:registry_modelversion_activate", args=[version.pk])
        form = preview_form(version, request.POST)
        if request.method != "POST" or form is None:
            return HttpResponseRedirect(back_to)
        if form.is_valid():
            job = run_service(form, request_preview, version=version, by=actor_of(request), **form.cleaned_data)
            if job is not None:
                self.log_change(request, version, f"Requested a preview for {job.for_tenant}: {job.last} studies.")
                return HttpResponseRedirect(f"{back_to}#previews")
        return self._activation_page(request, version, ActivationForm(), form)

    def previews_view(self, request: HttpRequest, version_id: UUID) -> HttpResponse:
        version = get_object_or_404(ModelVersion, pk=version_id)
        record_operator_access(request, tenants_previewed(version), object_id=version.pk, is_reload=True)
        return HttpResponse(render_previews(version))

    def _activation_page(
        self, request: HttpRequest, version: ModelVersion, form: ActivationForm, request_form: PreviewForm | None
    ) -> TemplateResponse:
        page = self.page(
            request,
            title=f"Put {version} into service",
            explanation="Operating points included. Each worker keeps its version until it has loaded this one. "
            "The form at the end asks for whom.",
            back_to=reverse("admin:registry_modelversion_change", args=[version.pk]),
            form=form,
            submit="Put into service",
        )
        served = served_table(changes_everywhere(version), "If it is chosen below")
        return with_release_checks(page, request, version, request_form, serving=platform_version(), served=served)

    def card_view(self, request: HttpRequest, version_id: UUID) -> HttpResponseBase:
        version = get_object_or_404(ModelVersion, pk=version_id)
        context = self.admin_site.each_context(request) | {
            "title": f"Model card of {version}",
            "opts": self.opts,
            "version": version,
            "sections": card_sections(version),
        }
        return TemplateResponse(request, "admin/registry/modelversion/card.html", context)

    def card_pdf_view(self, request: HttpRequest, version_id: UUID) -> HttpResponseBase:
        version = get_object_or_404(ModelVersion, pk=version_id)
        return download_pdf(
            request,
            lambda: render_card_pdf(version=version),
            filename=f"card-{version.name}-{version.number}.pdf",
            back_to=reverse("admin:registry_modelversion_card", args=[version.pk]),
        )

    def evaluate_view(self, request: HttpRequest, version_id: UUID) -> HttpResponseBase:
        return evaluate_view(self, request, version_id)

    def retire_view(self, request: HttpRequest, version_id: UUID) -> HttpResponseBase:
        version = get_object_or_404(ModelVersion, pk=version_id)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        back_to = reverse("admin:registry_modelversion_change", args=[version.pk])
        if request.method == "POST" and form.is_valid():
            entry = run_service(form, retire, version=version, **decision_arguments(request, form))
            if entry is not None:
                self.log_change(request, version, f"Retired: {entry.reason}")
                messages.success(request, f"Retired: {version}.")
                return HttpResponseRedirect(back_to)
        return self.page(
            request,
            title=f"Retire {version}",
            explanation="It can never be in service again. What it has read stays. This cannot be undone.",
            back_to=back_to,
            form=form,
            submit="Retire",
        )


def _links(page: str, instances: Iterable[Model]) -> SafeString:
    return format_html_join(
        mark_safe("<br>"), '<a href="{}">{}</a>', ((reverse(page, args=[each.pk]), each) for each in instances)
    )


def evaluate_view(page: OperatorAdmin, request: HttpRequest, version_id: UUID) -> HttpResponseBase:
    """Request the evaluation of a version on all active sets."""
    version = get_object_or_404(ModelVersion, pk=version_id)
    back_to = reverse("admin:registry_modelversion_change", args=[version.pk])
    sets = EvaluationSet.objects.filter(is_active=True)
    if request.method == "POST":
        queued = request_evaluations(version=version)
        page.log_change(request, version, f"Requested {queued} evaluations.")
        messages.success(request, f"Waiting for the jobs worker: {queued}. This page shows their state.")
        return HttpResponseRedirect(back_to)
    names = ", ".join(f"{each} ({each.films} films)" for each in sets)
    return page.page(
        request,
        title=f"Evaluate {version} on all sets",
        explanation=f"A jobs worker measures it on each active set: {names}." if names else _NO_SET,
        back_to=back_to,
        form=forms.Form() if names else None,
        submit="Evaluate",
    )
