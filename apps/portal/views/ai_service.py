"""The page "AI in service": what reads here and what read before; administrators stop the AI and start it again."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.core.finding_names import finding_name
from apps.deployment.ledger.service_history import changes_version, finding_changes, service_history, version_change
from apps.deployment.models import Activation
from apps.deployment.selectors import version_for
from apps.deployment.services import start_ai, stop_ai
from apps.deployment.stops import AI_STOPPED, stops_for
from apps.inference.requeue import ended_jobs, requeue
from apps.portal.access import MemberRequest, members_only
from apps.registry.models import ModelVersion
from apps.tenants.models import Membership, Role
from apps.tenants.services import dismiss_notice, require_role


class StopForm(forms.Form):
    label = forms.ChoiceField(required=False, label=gettext_lazy("Stop"))
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy(
            "The ledger and your hospital's audit trail keep who stopped it; the ledger keeps this reason."
        ),
    )

    def __init__(self, version: ModelVersion, data: Any = None) -> None:
        super().__init__(data)
        labels = [(label, finding_name(label)) for label in version.manifest["labels"]]
        self.fields["label"].choices = [("", _("The whole AI")), *labels]  # type: ignore[attr-defined]


@require_GET
@members_only
def ai_service(request: MemberRequest) -> HttpResponse:
    return _page(request)


@require_POST
@members_only
def stop(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    version = version_for(request.tenant.id)
    form = StopForm(version, request.POST) if version else None
    if form is None or not form.is_valid():
        return _page(request, form)
    try:
        stop_ai(tenant=request.tenant, by=actor_of(request), **form.cleaned_data)
    except ChecxrayError as error:
        form.add_error(None, error.detail)
        return _page(request, form)
    messages.success(request, _("Stopped from the next result on. Studies are stored and listed as before."))
    return redirect("portal:ai")


@require_POST
@members_only
def start(request: MemberRequest) -> HttpResponse:
    """Start again, and on request read what arrived meanwhile."""
    require_role(request.membership, Role.ADMIN)
    label, by = request.POST.get("label", ""), actor_of(request)
    start_ai(tenant=request.tenant, by=by, label=label, reason="Started again in the portal.")
    read = []
    if not label and request.POST.get("read"):
        read = requeue(jobs=_unread(request.tenant.id), by=by, operation="portal:start-ai")
    messages.success(request, _("The AI reads again from the next result on."))
    if read:
        messages.success(
            request, _("Studies that arrived meanwhile and are read now: %(count)s.") % {"count": len(read)}
        )
    return redirect("portal:ai")


@require_POST
@members_only
def dismiss(request: MemberRequest) -> HttpResponse:
    number = request.POST.get("number", "")
    if number.isdecimal():
        dismiss_notice(membership=request.membership, number=min(int(number), 2**63 - 1))
    return redirect("portal:worklist")


@require_GET
@members_only
def change(request: MemberRequest, number: int) -> HttpResponse:
    """What a change of version meant for each finding."""
    entry = version_change(request.tenant.id, number)
    context = {"entry": _shown(request.tenant.id, [entry])[0], "changes": finding_changes(entry, request.tenant.id)}
    return render(request, "portal/ai_change.html", context)


def _page(request: MemberRequest, form: StopForm | None = None) -> HttpResponse:
    version, tenant_id = version_for(request.tenant.id), request.tenant.id
    is_admin = request.membership.role == Role.ADMIN
    context = {
        "version": version,
        "stops": stops_for(tenant_id),
        "form": form or (StopForm(version) if version else None),
        "is_admin": is_admin,
        "unread": len(_unread(tenant_id)) if is_admin else 0,
        "history": _shown(tenant_id, service_history(tenant_id)),
    }
    return render(request, "portal/ai_service.html", context)


def _unread(tenant_id: UUID) -> Any:
    return ended_jobs(tenant_id=tenant_id, reason_code=AI_STOPPED)


def _shown(tenant_id: UUID, entries: list[Activation]) -> list[dict[str, Any]]:
    """The entries with the names of the tenant's members. A reason that may concern other tenants is left out."""
    members = Membership.objects.filter(user__in={each.by_id for each in entries if each.by_id})
    names: dict[UUID | None, str] = {each.user_id: str(each.user) for each in members.select_related("user")}
    return [
        {
            "entry": each,
            "who": names.get(each.by_id, "The platform's operator"),
            "reason": each.reason if each.for_tenant_id == tenant_id else "",
            "changes_version": changes_version(each),
        }
        for each in entries
    ]
