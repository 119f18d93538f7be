"""Console page of operating points. It counts studies and shows none: operators see no patient."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from apps.audit.operator_access import record_operator_access
from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.deployment.models import OperatingPoint
from apps.deployment.selectors import version_for
from apps.deployment.services import set_points
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import find_version
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import Tenant
from apps.tenants.operator_admin import OperatorAdmin
from apps.tenants.scope import tenant_tx
from apps.trials.point_form import PointForm, what_if_context
from apps.trials.readings import find_study_ids, readings_of, studies_read_by
from apps.trials.what_if import RecentProbabilities, recent_probabilities


class ReadByForm(forms.Form):
    version = forms.CharField(required=False, help_text="name:number")
    label = forms.ChoiceField(required=False, choices=[(label, label) for label in engine.LABELS], label="Finding")
    threshold = forms.FloatField(required=False, min_value=0, max_value=1, help_text="To three digits; empty: any.")
    study = forms.CharField(
        required=False, help_text="Or the id or Study Instance UID of one study: shows every version that read it."
    )

    def clean_version(self) -> ModelVersion | None:
        try:
            return find_version(self.cleaned_data["version"]) if self.cleaned_data["version"] else None
        except ChecxrayError as error:
            raise forms.ValidationError(error.detail) from error

    def clean_label(self) -> str:
        return self.cleaned_data["label"] or engine.LABELS[0]


@admin.register(OperatingPoint)
class OperatingPointAdmin(OperatorAdmin):
    list_display = ("for_tenant", "model_version", "label", "value", "strategy", "target", "actor", "at")
    list_filter = ("for_tenant",)
    list_select_related = ("for_tenant", "model_version")
    fields = ("for_tenant", "model_version", "label", "value", "strategy", "target", "reason", "actor", "at")
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.what_if_view)
        # The page reads the tenant that it shows, also where the operator is signed in to another one.
        opens_own_transaction(view)
        read_by = self.admin_site.admin_view(self.read_by_view)
        opens_own_transaction(read_by)
        return [
            path("what-if/<slug:slug>/", view, name="deployment_operatingpoint_what_if"),
            path("read-by/", read_by, name="deployment_operatingpoint_read_by"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        tenants = Tenant.objects.order_by("name")
        return super().changelist_view(request, {**(extra_context or {}), "tenants": tenants})

    def what_if_view(self, request: HttpRequest, slug: str) -> HttpResponse:
        tenant = get_object_or_404(Tenant, slug=slug)
        version = version_for(tenant.pk)
        if version is None:
            messages.error(request, "No version is in service, so there are no operating points.")
            return HttpResponseRedirect(reverse("admin:deployment_operatingpoint_changelist"))
        labels = version.manifest["labels"]
        label = request.GET.get("label", labels[0])
        if label not in labels:
            messages.error(request, f"{label} is not a finding of {version}.")
            return HttpResponseRedirect(request.path)
        with tenant_tx(tenant.pk):
            found = recent_probabilities(version=version, label=label)
        record_operator_access(request, [tenant.pk])
        form = PointForm.of(tenant, version, label, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid() and self._set(request, form, tenant, version, label, found):
            return HttpResponseRedirect(request.get_full_path())
        context = self.admin_site.each_context(request) | {
            **what_if_context(tenant, version, label, found),
            "title": f"{label}: what if {tenant} used another operating point",
            "back_to": reverse("admin:deployment_operatingpoint_changelist"),
            "labels": labels,
            "opts": self.opts,
            "form": form,
            "submit": "Use this operating point",
        }
        return TemplateResponse(request, "admin/deployment/operatingpoint/what_if.html", context)

    def read_by_view(self, request: HttpRequest) -> HttpResponse:
        """Find the studies that a version read at a threshold, or the versions that read a study."""
        form = ReadByForm(request.GET or None)
        context: dict[str, Any] = {"title": "Which version read what", "opts": self.opts, "form": form}
        if form.is_bound and form.is_valid():
            given = form.cleaned_data
            if given["study"]:
                readings = [each for study in find_study_ids(given["study"]) for each in readings_of(study)]
                context["readings"] = readings
                record_operator_access(request, [each.tenant.pk for each in readings])
            elif given["version"]:
                context["version"] = given["version"]
                read_by = studies_read_by(version=given["version"], label=given["label"], threshold=given["threshold"])
                context["read_by"] = read_by
                record_operator_access(request, [each.tenant.pk for each in read_by])
        context |= self.admin_site.each_context(request)
        return TemplateResponse(request, "admin/deployment/operatingpoint/read_by.html", context)

    def _set(
        self,
        request: HttpRequest,
        form: PointForm,
        tenant: Tenant,
        version: ModelVersion,
        label: str,
        found: RecentProbabilities,
    ) -> bool:
        try:
            entry = set_points(
                tenant=tenant,
                version=version,
                choices={label: form.choice()},
                recent={label: found.recent},
                by=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
        except ChecxrayError as error:
            form.add_error(None, error.detail)
            return False
        self.log_change(request, tenant, f"Changed the operating point of {label}: {entry.reason}")
        messages.success(request, f"The new operating point of {label} applies to {tenant} from the next result on.")
        return True
