"""The operating points page, for administrators: each finding's operating point, and who chose it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError, ConflictError, NotFoundError, NotPermittedError
from apps.core.finding_names import finding_name
from apps.deployment.alarms import alarm_figures
from apps.deployment.ledger.point_changes import PointChange, point_changes
from apps.deployment.models import OperatingPoint
from apps.deployment.points import Point
from apps.deployment.selectors import recalibration_for, version_for
from apps.deployment.services import set_points
from apps.portal.access import MemberRequest, members_only
from apps.registry.models import ModelVersion
from apps.tenants.models import Membership, Role, Tenant
from apps.tenants.services import require_role
from apps.trials.point_form import PointForm, shown, what_if_context
from apps.trials.what_if import RecentProbabilities, recent_probabilities

_CHANGES = 50


@dataclass(frozen=True)
class PointRow:
    """One finding as the table shows it."""

    label: str
    threshold: float | None
    how: str
    is_own_choice: bool


@require_GET
@members_only
def points(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    version = version_for(request.tenant.id)
    rows = _rows(request.tenant, version) if version else []
    context = {
        "version": version,
        "rows": rows,
        "alarms": alarm_figures(version, {row.label: row.threshold for row in rows}) if version else None,
        "may_change": settings.HOSPITALS_SET_POINTS,
        "changes": _with_names(point_changes(request.tenant.id)[:_CHANGES]),
    }
    return render(request, "portal/points.html", context)


@require_http_methods(["GET", "POST"])
@members_only
def point(request: MemberRequest, label: str) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    version = version_for(request.tenant.id)
    if version is None or label not in version.manifest["labels"]:
        raise NotFoundError(_("The version in service has no such finding."))
    found = recent_probabilities(version=version, label=label)
    form = PointForm.of(request.tenant, version, label, request.POST if request.method == "POST" else None)
    if request.method == "POST":
        if not settings.HOSPITALS_SET_POINTS:
            raise NotPermittedError(_("On this platform the operator sets the operating points: ask there."))
        if form.is_valid() and _set(request, form, version, label, found):
            return redirect("portal:points")
    context = {
        **what_if_context(request.tenant, version, label, found),
        "form": form,
        "may_change": settings.HOSPITALS_SET_POINTS,
        "changes": _with_names(point_changes(request.tenant.id, label)[:_CHANGES]),
    }
    return render(request, "portal/point.html", context)


def _set(
    request: MemberRequest, form: PointForm, version: ModelVersion, label: str, found: RecentProbabilities
) -> bool:
    if request.POST.get("version") != str(version):
        raise ConflictError(
            _("%(version)s reads here by now: look at what its thresholds do first.") % {"version": version}
        )
    try:
        set_points(
            tenant=request.tenant,
            version=version,
            choices={label: form.choice()},
            recent={label: found.recent},
            by=actor_of(request),
            reason=form.cleaned_data["reason"],
        )
    except ChecxrayError as error:
        form.add_error(None, error.detail)
        return False
    messages.success(
        request,
        _("%(finding)s has the new operating point from the next result on.") % {"finding": finding_name(label)},
    )
    return True


def _rows(tenant: Tenant, version: ModelVersion) -> list[PointRow]:
    chosen = {
        row.label: Point.of(row) for row in OperatingPoint.objects.filter(model_version=version, for_tenant=tenant)
    }
    recalibration = recalibration_for(version, tenant.pk)
    rows = [_row(label, version.thresholds[label], chosen.get(label)) for label in version.manifest["labels"]]
    return [
        row if row.threshold is None else replace(row, threshold=shown(recalibration, row.label, row.threshold))
        for row in rows
    ]


def _row(label: str, own: Mapping[str, Any] | None, chosen: Point | None) -> PointRow:
    if chosen is not None:
        return PointRow(label, chosen.value, chosen.how, True)
    return PointRow(
        label, own["value"] if own else None, _("The version's own") if own else _("No operating point"), False
    )


def _with_names(changes: Iterable[PointChange]) -> list[dict[str, Any]]:
    """Add the names of the tenant's members; other changes are by the platform's operator."""
    listed = list(changes)
    members = Membership.objects.filter(user__in={each.by_id for each in listed if each.by_id})
    names: dict[UUID | None, str] = {each.user_id: str(each.user) for each in members.select_related("user")}
    return [
        {
            "change": each,
            "who": names.get(each.by_id, _("The platform's operator")),
        }
        for each in listed
    ]
