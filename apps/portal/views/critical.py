"""Critical findings: the banner on every page, the list of notices, and the acknowledgement."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import InvalidInputError
from apps.critical.notices import LONGEST_CONTACT, LONGEST_NOTE, Communication, acknowledge
from apps.critical.selectors import waiting_for
from apps.portal.access import MemberRequest, members_only
from apps.portal.critical import FILTERS, notice_page


class CommunicationForm(forms.Form):
    """Whom the person informed, and when, in the time zone of the page."""

    contact = forms.CharField(
        label=gettext_lazy("Whom you informed"), max_length=LONGEST_CONTACT, required=False, strip=True
    )
    at = forms.DateTimeField(
        label=gettext_lazy("When"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
    )
    note = forms.CharField(label=gettext_lazy("Note"), max_length=LONGEST_NOTE, required=False, strip=True)


@require_GET
@members_only
def notices(request: MemberRequest) -> HttpResponse:
    """The notices of one state, with their trails; the finding is for radiologists."""
    return _page(request)


@require_GET
@members_only
def banner(request: MemberRequest) -> HttpResponse:
    """The banner alone, for the script that keeps it current; empty where nothing waits."""
    return render(request, "portal/_critical_banner.html", {"waiting": waiting_for(request.membership)})


@require_POST
@members_only
def acknowledged(request: MemberRequest, pk: UUID) -> HttpResponse:
    """Acknowledge a notice, or add whom the person informed; where that cannot be stored, the typed text stays."""
    form = CommunicationForm(request.POST, prefix=str(pk))
    if form.is_valid():
        given = Communication(**form.cleaned_data)
        try:
            notice = acknowledge(notice_id=pk, user=request.user, membership=request.membership, communication=given)
        except InvalidInputError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, _("Stored in your name."))
            if request.POST.get("from") == "study":
                return redirect("portal:study", pk=notice.study_id)
            return redirect(f"{reverse('portal:critical')}?state={_state(request)}")
    return _page(request, refused=(pk, form), status=400)


def _page(
    request: MemberRequest, refused: tuple[UUID, CommunicationForm] | None = None, status: int = 200
) -> HttpResponse:
    shown = notice_page(membership=request.membership, state=_state(request), number=request.GET.get("page", "1"))
    record(
        action=AuditEvent.Action.STUDIES_SEARCHED,
        by=actor_of(request),
        amount=len(shown.lines),
        operation="portal:critical",
    )
    forms_by_notice = [
        (
            line,
            refused[1] if refused and line.notice.pk == refused[0] else CommunicationForm(prefix=str(line.notice.pk)),
        )
        for line in shown.lines
    ]
    context: dict[str, Any] = {
        "shown": shown,
        "rows": forms_by_notice,
        "filters": FILTERS.items(),
    }
    return render(request, "portal/critical.html", context, status=status)


def _state(request: MemberRequest) -> str:
    state = request.POST.get("state", "") or request.GET.get("state", "")
    return state if state in FILTERS else "open"
