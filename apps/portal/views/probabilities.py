"""The probabilities page, for administrators: prevalence and recalibration of the version that serves the hospital."""

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
from apps.core.errors import ChecxrayError, NotFoundError, NotPermittedError
from apps.core.finding_names import finding_name
from apps.deployment.models import Recalibration
from apps.deployment.selectors import recalibration_for, version_for
from apps.deployment.services import apply_recalibration, undo_recalibration
from apps.portal.access import MemberRequest, members_only
from apps.registry.models import ModelVersion
from apps.tenants.models import Role
from apps.tenants.services import require_role
from apps.trials.recalibration import (
    FEWEST_REVIEWED,
    HIGHEST_PREVALENCE,
    LOWEST_PREVALENCE,
    count_reviewed,
    note_of,
    own_prevalence,
    propose_again,
    propose_from_verdicts,
    propose_own,
    propose_prevalence,
)

_MOST_LISTED = 50


class PrevalenceForm(forms.Form):
    """One optional share for each finding whose own prevalence the version records."""

    def __init__(self, labels: Any, declared: Any, data: Any = None) -> None:
        super().__init__(data)
        for label in labels:
            self.fields[label] = forms.FloatField(
                required=False,
                min_value=LOWEST_PREVALENCE,
                max_value=HIGHEST_PREVALENCE,
                initial=declared.get(label),
                widget=forms.NumberInput(
                    attrs={
                        "step": "any",
                        "aria-label": _("Share of your studies with %(finding)s") % {"finding": finding_name(label)},
                    }
                ),
            )


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("The ledger keeps this reason permanently."),
    )


@require_http_methods(["GET", "POST"])
@members_only
def probabilities(request: MemberRequest) -> HttpResponse:
    """What is in force, and the ways to another scale; a POST makes a proposal and shows its preview."""
    require_role(request.membership, Role.ADMIN)
    version = version_for(request.tenant.id)
    if version is None:
        return render(request, "portal/probabilities.html", {"version": None})
    form = _form(request, version)
    error = ""
    if request.method == "POST":
        _require_may_change()
        try:
            proposed = _propose(request, version, form)
        except ChecxrayError as refused:
            error = refused.detail
        else:
            if proposed is not None:
                return redirect("portal:recalibration", proposed.pk)
    own = own_prevalence(version)
    context = {
        "version": version,
        "in_force": recalibration_for(version, request.tenant.id),
        "rows": [{"label": label, "own": own[label], "field": form[label]} for label in own],
        "form": form,
        "error": error,
        "reviewed": count_reviewed(version),
        "needed": FEWEST_REVIEWED,
        "history": _history(request, version)[:_MOST_LISTED],
        "may_change": settings.HOSPITALS_SET_POINTS,
    }
    return render(request, "portal/probabilities.html", context)


@require_http_methods(["GET", "POST"])
@members_only
def recalibration(request: MemberRequest, pk: UUID) -> HttpResponse:
    """One proposal with its preview; a POST puts it into force."""
    require_role(request.membership, Role.ADMIN)
    shown = _found(request, pk)
    version = shown.model_version
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        _require_may_change()
        if form.is_valid():
            try:
                apply_recalibration(recalibration=shown, by=actor_of(request), reason=form.cleaned_data["reason"])
            except ChecxrayError as error:
                form.add_error(None, error.detail)
            else:
                messages.success(request, _("The new probabilities apply from the next result on."))
                return redirect("portal:probabilities")
    now = recalibration_for(version, request.tenant.id)
    context = {
        "shown": shown,
        "is_in_force": now == shown,
        "is_current": shown.replaces == now and version_for(request.tenant.id) == version,
        "entries": shown.entries.select_related("by"),
        "rows": [
            {"label": label, "evidence": evidence, "note": note_of(evidence), **counts}
            for label, counts in shown.preview["labels"].items()
            for evidence in [shown.evidence.get(label, {})]
        ],
        "form": form,
        "may_change": settings.HOSPITALS_SET_POINTS,
    }
    return render(request, "portal/recalibration.html", context)


@require_POST
@members_only
def preview_again(request: MemberRequest, pk: UUID) -> HttpResponse:
    """Compare an earlier proposal with what is in force now."""
    require_role(request.membership, Role.ADMIN)
    _require_may_change()
    proposed = propose_again(recalibration=_found(request, pk), by=actor_of(request))
    return redirect("portal:recalibration", proposed.pk)


@require_POST
@members_only
def undo(request: MemberRequest) -> HttpResponse:
    """Put back what was in force before the last change."""
    require_role(request.membership, Role.ADMIN)
    _require_may_change()
    version = version_for(request.tenant.id)
    if version is None:
        raise NotFoundError(_("No model version is in service."))
    try:
        undo_recalibration(tenant=request.tenant, version=version, by=actor_of(request), reason="Taken back.")
    except ChecxrayError as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, _("The last change of the probabilities was taken back, from the next result on."))
    return redirect("portal:probabilities")


def _form(request: MemberRequest, version: ModelVersion) -> PrevalenceForm:
    """The form, filled with what this hospital declared last, also for another version."""
    latest = Recalibration.objects.filter(for_tenant=request.tenant, method=Recalibration.Method.PREVALENCE).first()
    declared = {
        label: row["declared_prevalence"]
        for label, row in (latest.evidence if latest else {}).items()
        if "declared_prevalence" in row
    }
    is_declared = request.method == "POST" and request.POST.get("method") == Recalibration.Method.PREVALENCE
    return PrevalenceForm(own_prevalence(version), declared, request.POST if is_declared else None)


def _propose(request: MemberRequest, version: ModelVersion, form: PrevalenceForm) -> Recalibration | None:
    arguments: dict[str, Any] = {"tenant": request.tenant, "version": version, "by": actor_of(request)}
    match request.POST.get("method"):
        case Recalibration.Method.VERDICTS:
            return propose_from_verdicts(**arguments)
        case Recalibration.Method.OWN:
            return propose_own(**arguments)
    if not form.is_valid():
        return None
    declared = {label: share for label, share in form.cleaned_data.items() if share is not None}
    return propose_prevalence(**arguments, declared=declared)


def _history(request: MemberRequest, version: ModelVersion) -> Any:
    return Recalibration.objects.filter(for_tenant=request.tenant, model_version=version).select_related("by")


def _found(request: MemberRequest, pk: UUID) -> Recalibration:
    found = Recalibration.objects.select_related("model_version", "for_tenant", "replaces", "by").filter(
        for_tenant=request.tenant, pk=pk
    )
    shown = found.first()
    if shown is None:
        raise NotFoundError(_("There is no such recalibration in this hospital."), "recalibration-not-found")
    return shown


def _require_may_change() -> None:
    if not settings.HOSPITALS_SET_POINTS:
        raise NotPermittedError(_("On this platform the operator sets the probabilities: ask there."))
