"""The pages on which members settle conflicts, and move, withdraw and restore studies."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.validators import ProhibitNullCharactersValidator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import ChecxrayError, InvalidInputError
from apps.inference.withdrawal import read_again, restore_study, withdraw_study
from apps.portal import demographics
from apps.portal.access import MemberRequest, members_only
from apps.portal.forms import DICOM_TEXT
from apps.reports.printed import differing_reports
from apps.studies import changes, settlement
from apps.studies.identity import PLACEHOLDERS
from apps.studies.models import PlaceholderPatientID, Study
from apps.studies.placeholders import add_placeholder, remove_placeholder
from apps.studies.selectors import get_study_by_id
from apps.tenants.models import Role
from apps.tenants.services import require_role

_TEXT: list[Any] = [DICOM_TEXT, ProhibitNullCharactersValidator()]


class MoveForm(forms.Form):
    """The patient to move a study to, and the study's new demographics."""

    patient_id = forms.CharField(label=gettext_lazy("Patient ID"), max_length=64, validators=_TEXT)
    issuer = forms.CharField(
        label=gettext_lazy("Issuer of patient ID"), max_length=64, required=False, validators=_TEXT
    )
    name = forms.CharField(label=gettext_lazy("Name (Family^Given)"), max_length=324, required=False, validators=_TEXT)
    birth_date = forms.DateField(
        label=gettext_lazy("Birth date"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )
    sex = forms.ChoiceField(
        label=gettext_lazy("Sex"),
        choices=[
            ("", gettext_lazy("Not stated")),
            ("F", gettext_lazy("Female")),
            ("M", gettext_lazy("Male")),
            ("O", gettext_lazy("Other")),
        ],
        required=False,
    )
    keep = forms.BooleanField(
        label=gettext_lazy("Leave name, birth date and sex to the images"), required=False, initial=True
    )
    reason = forms.CharField(label=gettext_lazy("Reason"), max_length=settlement.LONGEST_REASON, required=False)


@require_http_methods(["GET", "POST"])
@members_only
def study_patient(request: MemberRequest, pk: UUID) -> HttpResponse:
    """The page of a study's patient; a POST names the operation in ``action``."""
    study = get_study_by_id(pk, even_withdrawn=True)
    if request.method == "GET":
        record(
            action=AuditEvent.Action.STUDY_VIEWED, by=actor_of(request), object_id=pk, operation="portal:study-patient"
        )
        return _page(request, study)
    action = request.POST.get("action", "")
    if action == "find":
        form = MoveForm(request.POST)
        if not form.is_valid():
            return _page(request, study, form=form)
        found = demographics.patients_with_id(form.cleaned_data["patient_id"], form.cleaned_data["issuer"])
        return _page(request, study, form=form, candidates=found, looked=True)
    act = _ACTIONS.get(action)
    if act is None:
        raise InvalidInputError(_("There is no such action on this page."), "action-unknown")
    messages.success(request, act(request, study))
    return redirect("portal:study-patient", pk=pk)


@require_GET
@members_only
def patients(request: MemberRequest) -> HttpResponse:
    """Open conflicts, signed reports that name another patient than their study, and withdrawn studies."""
    context = {
        "conflicts": demographics.open_conflicts(),
        "reports": list(differing_reports()),
        "withdrawn": demographics.withdrawn_studies(),
    }
    record(action=AuditEvent.Action.STUDY_VIEWED, by=actor_of(request), operation="portal:patients")
    return render(request, "portal/patients.html", context)


class PlaceholderForm(forms.Form):
    value = forms.CharField(
        label=gettext_lazy("Patient ID"),
        max_length=64,
        validators=_TEXT,
        help_text=gettext_lazy("Case, spaces and punctuation make no difference."),
    )


@require_http_methods(["GET", "POST"])
@members_only
def placeholders(request: MemberRequest) -> HttpResponse:
    """The hospital's own placeholder IDs; a POST adds one, or removes one."""
    require_role(request.membership, Role.ADMIN)
    form = PlaceholderForm(request.POST if request.method == "POST" and "remove" not in request.POST else None)
    if "remove" in request.POST:
        remove_placeholder(
            placeholder_id=_uuid(request.POST["remove"]), user=request.user, membership=request.membership
        )
        messages.success(request, _("The ID identifies patients again, in studies that arrive from now on."))
        return redirect("portal:placeholders")
    if form.is_valid():
        try:
            add_placeholder(value=form.cleaned_data["value"], user=request.user, membership=request.membership)
        except ChecxrayError as error:
            form.add_error("value", error.detail)
        else:
            messages.success(request, _("Studies under this ID are no longer taken for one patient's."))
            return redirect("portal:placeholders")
    context = {
        "own": PlaceholderPatientID.objects.order_by("value"),
        "default": ", ".join(sorted(PLACEHOLDERS)),
        "form": form,
    }
    return render(request, "portal/settings/placeholders.html", context)


def _page(request: MemberRequest, study: Study, **more: Any) -> HttpResponse:
    form = more.pop("form", None) or MoveForm(initial={**changes.patient_snapshot(study), "keep": True})
    context = {
        "study": study,
        "form": form,
        "conflicts": demographics.shown_conflicts(study),
        "decisions": demographics.decisions_about(study),
        "changes": study.changes.select_related("by"),
        **more,
    }
    return render(request, "portal/study_patient.html", context)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInputError(_("This address is incomplete. Reload the page."), "identifier-invalid") from None


def _settle(request: MemberRequest, study: Study) -> str:
    answers = request.POST.getlist("belongs")
    if not all(answer.isascii() and answer.isdigit() and len(answer) <= 3 for answer in answers):
        raise InvalidInputError(_("Choose for each line to whom it belongs."), "choice-incomplete")
    study_ids = settlement.settle_conflict(
        conflict_id=_uuid(request.POST.get("conflict", "")),
        settlement=request.POST.get("settlement", ""),
        choice=[int(answer) for answer in answers],
        seen=request.POST.get("seen", ""),
        reason=request.POST.get("reason", ""),
        user=request.user,
        membership=request.membership,
    )
    read_again(study_ids=study_ids)
    return _("The conflict is settled.")


def _reopen(request: MemberRequest, study: Study) -> str:
    study_ids = settlement.reopen_conflict(
        conflict_id=_uuid(request.POST.get("conflict", "")), user=request.user, membership=request.membership
    )
    read_again(study_ids=study_ids)
    return _("The decision is undone.")


def _move(request: MemberRequest, study: Study) -> str:
    form = MoveForm(request.POST)
    if not form.is_valid():
        problems = " ".join(str(message) for errors in form.errors.values() for message in errors)
        raise InvalidInputError(_("The study was not moved: %(problems)s") % {"problems": problems}, "move-invalid")
    given = form.cleaned_data
    person = request.POST.get("person", "")
    changes.move_study(
        study_id=study.pk,
        patient_id=given["patient_id"],
        issuer=given["issuer"],
        person_id=_uuid(person) if person else None,
        demographics=None
        if given["keep"]
        else changes.ChosenDemographics(given["name"], given["birth_date"], given["sex"]),
        reason=given["reason"],
        user=request.user,
        membership=request.membership,
    )
    return _("The study belongs to this patient now.")


def _follow(request: MemberRequest, study: Study) -> str:
    changes.follow_images(
        study_id=study.pk, reason=request.POST.get("reason", ""), user=request.user, membership=request.membership
    )
    return _("The study belongs to the patient that its images name.")


def _withdraw(request: MemberRequest, study: Study) -> str:
    withdraw_study(
        study_id=study.pk, reason=request.POST.get("reason", ""), user=request.user, membership=request.membership
    )
    return _("The study is withdrawn.")


def _restore(request: MemberRequest, study: Study) -> str:
    restore_study(study_id=study.pk, user=request.user, membership=request.membership)
    return _("The study is back in the worklist.")


_ACTIONS: dict[str, Callable[[MemberRequest, Study], str]] = {
    "settle": _settle,
    "reopen": _reopen,
    "move": _move,
    "follow": _follow,
    "withdraw": _withdraw,
    "restore": _restore,
}
