"""The list of discordances to review: where a signed report and the AI differ on a finding."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.portal.access import MemberRequest, members_only
from apps.portal.views.quality import MAY_SEE
from apps.quality.inbox import LISTED_DAYS, PRECISION_DAYS, measured_precision, reviewed, to_review
from apps.quality.models import Resolution
from apps.quality.review import resolve_discordance, undo_resolution
from apps.reading.selectors import reading_policy
from apps.tenants.services import require_role, sees_findings

ON_A_PAGE = 25
FILTERS = {"open": gettext_lazy("To review"), "reviewed": gettext_lazy("Reviewed")}


@require_GET
@members_only
def discordances(request: MemberRequest) -> HttpResponse:
    """The list for radiologists. Administrators, who see no patient's findings, see how many wait, and the figures."""
    require_role(request.membership, *MAY_SEE)
    policy, state = reading_policy(), _state(request.GET.get("state", ""))
    rows = to_review(policy) if state == "open" else reviewed()
    reads = sees_findings(request.membership)
    page = Paginator(rows, ON_A_PAGE).get_page(request.GET.get("page", "1"))
    if reads:
        record(
            action=AuditEvent.Action.STUDIES_SEARCHED,
            by=actor_of(request),
            amount=len(page.object_list),
            operation="portal:discordances",
        )
    context = {
        "reads": reads,
        "state": state,
        "filters": FILTERS.items(),
        "page": page,
        "policy": policy,
        "measured": measured_precision(),
        "resolutions": Resolution.choices,
        "listed_days": LISTED_DAYS,
        "precision_days": PRECISION_DAYS,
    }
    return render(request, "portal/quality/discordances.html", context)


@require_POST
@members_only
def resolve(request: MemberRequest, pk: UUID) -> HttpResponse:
    """Store what the reader found."""
    found = resolve_discordance(
        discordance_id=pk,
        resolution=request.POST.get("resolution", ""),
        user=request.user,
        membership=request.membership,
        report_id=request.POST.get("report", ""),
    )
    if found.resolution == Resolution.AI_RIGHT:
        messages.success(request, _("Stored. The report stays as it is until it is amended on the study's page."))
        return redirect("portal:study", pk=found.study_id)
    messages.success(request, _("Stored. It can be undone under Reviewed."))
    return _back_to_list(request, "open")


@require_POST
@members_only
def undo(request: MemberRequest, pk: UUID) -> HttpResponse:
    found = undo_resolution(discordance_id=pk, user=request.user, membership=request.membership)
    waits = _("Undone. It waits for a review again.")
    messages.success(request, waits if found.ended_at is None else _("Undone. Report and AI agree by now."))
    return _back_to_list(request, "reviewed")


def _back_to_list(request: MemberRequest, state: str) -> HttpResponse:
    """The page of the list on which the form was; the last one where there are fewer pages by now."""
    page = request.POST.get("page", "")[:6]
    kept = {"state": state, "page": page if page.isascii() and page.isdigit() else "1"}
    return redirect(f"{reverse('portal:discordances')}?{urlencode(kept)}")


def _state(text: str) -> str:
    return text if text in FILTERS else "open"
