"""Model versions and what is in service. Versions are immutable: a person only moves the pointer, with a reason."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from apps.core.errors import ChecxrayError
from apps.registry.admin.figures import figure
from apps.registry.models import Activation, Deployment, ModelVersion
from apps.registry.services import activate, roll_back
from apps.tenants.console import OperatorAdmin, operator_id, operator_name, reference


class ReasonForm(forms.Form):
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), help_text="Kept in the ledger for good.")


@admin.register(ModelVersion)
class ModelVersionAdmin(OperatorAdmin):
    list_display = ("__str__", "standing", "architecture", "mean_auroc", "short_sha256", "registered")
    fields = (
        "__str__", "standing", "training", "measured", "architecture", "sha256", "device_uid", "registered",
        "input_space", "operating_points", "figures", "data", "card",
    )  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> "QuerySet[ModelVersion]":
        activated = Activation.objects.filter(to_version=OuterRef("pk"))
        deployed = Deployment.objects.filter(model_version=OuterRef("pk"))
        return super().get_queryset(request).annotate(is_deployed=Exists(deployed), was_deployed=Exists(activated))

    @admin.display(description="Standing")
    def standing(self, version: Any) -> str:
        if version.is_deployed:
            return "In service"
        return "Was in service" if version.was_deployed else "Candidate"

    @admin.display(description="Training")
    def training(self, version: ModelVersion) -> SafeString | str:
        return _links("admin:registry_trainingrun_change", version.training_runs.all()) or "Registered from a folder"

    @admin.display(description="Evaluations")
    def measured(self, version: ModelVersion) -> SafeString | str:
        return _links("admin:registry_evaluation_change", version.evaluations.all()[:20]) or (
            "None yet: manage.py evaluate_model"
        )

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
        return _table(
            ("Finding", "Positive from", "Strategy", "Positive films"),
            [
                (label, f"{point['value']:.3f}", point["strategy"], point["positives"] or "not known")
                if point
                else (label, "none", notes.get(label, ""), "")
                for label, point in ((label, version.thresholds[label]) for label in version.manifest["labels"])
            ],
        )

    @admin.display(description="AUROC (95 % CI)")
    def figures(self, version: ModelVersion) -> SafeString:
        parts = {name: part for name, part in version.manifest["metrics"].items() if "labels" in part}
        rows = [("Mean", *(figure(part, "mean_auroc") for part in parts.values()))]
        rows += [
            (label, *(figure(part["labels"].get(label, {}), "auroc") for part in parts.values()))
            for label in version.manifest["labels"]
        ]
        return _table(("Finding", *(name.capitalize() for name in parts)), rows)

    @admin.display(description="Data")
    def data(self, version: ModelVersion) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(version.data, indent=2))

    @admin.display(description="Model card")
    def card(self, version: ModelVersion) -> SafeString:
        return format_html("<pre>{}</pre>", version.manifest["card"])

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.activate_view)
        return [path("<uuid:version_id>/activate/", view, name="registry_modelversion_activate"), *super().get_urls()]

    def activate_view(self, request: HttpRequest, version_id: UUID) -> HttpResponseBase:
        version = get_object_or_404(ModelVersion, pk=version_id)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                move = activate(
                    version=version,
                    actor=operator_name(request),
                    by_id=operator_id(request),
                    reason=form.cleaned_data["reason"],
                )
            except ChecxrayError as error:
                form.add_error(None, error.detail)
            else:
                return _moved(self, request, move)
        return self.page(
            request,
            title=f"Put {version} into service",
            explanation="For every hospital, operating points included. Each worker loads it before its next batch.",
            back_to=reverse("admin:registry_modelversion_change", args=[version.pk]),
            form=form,
            submit="Put into service",
        )


@admin.register(Deployment)
class DeploymentAdmin(OperatorAdmin):
    list_display = ("slot", "model_version", "since")
    list_display_links = None

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.roll_back_view)
        return [path("roll-back/", view, name="registry_deployment_roll_back"), *super().get_urls()]

    def roll_back_view(self, request: HttpRequest) -> HttpResponseBase:
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                move = roll_back(
                    actor=operator_name(request), by_id=operator_id(request), reason=form.cleaned_data["reason"]
                )
            except ChecxrayError as error:
                form.add_error(None, error.detail)
            else:
                return _moved(self, request, move)
        return self.page(
            request,
            title="Roll back",
            explanation="Puts the version into service that was there before the last move, operating points included.",
            back_to=reverse("admin:registry_deployment_changelist"),
            form=form,
            submit="Roll back",
        )


@admin.register(Activation)
class ActivationAdmin(OperatorAdmin):
    list_display = ("at", "slot", "move", "is_rollback", "actor", "reason")
    fields = ("at", "slot", "from_version", "to_version", "is_rollback", "by", "actor", "reason", "thresholds")
    list_select_related = ("from_version", "to_version")

    @admin.display(description="From → to")
    def move(self, activation: Activation) -> str:
        return f"{reference(activation.from_version)} → {activation.to_version}"


def _moved(page: OperatorAdmin, request: HttpRequest, move: Activation) -> HttpResponseBase:
    page.log_change(request, move.to_version, f"Put into service: {move.reason}")
    messages.success(request, f"{move.to_version} is in service (before: {reference(move.from_version)}).")
    return HttpResponseRedirect(reverse("admin:registry_deployment_changelist"))


def _links(page: str, instances: Iterable[Model]) -> SafeString:
    return format_html_join(
        mark_safe("<br>"), '<a href="{}">{}</a>', ((reverse(page, args=[each.pk]), each) for each in instances)
    )


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> SafeString:
    head = format_html_join("", "<th>{}</th>", ((each,) for each in heads))
    body = format_html_join(
        "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows)
    )
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)
