"""Hospital settings, Critical findings: which findings are critical, and who is notified."""

from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.selectors import members
from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError, NotFoundError
from apps.core.finding_names import finding_name
from apps.critical.rules import LONGEST_MINUTES, RuleValues, add_rule, change_rule, remove_rule
from apps.critical.selectors import RuleLine, can_mail, rule_lines
from apps.portal.access import MemberRequest, members_only
from apps.reading.models import URGENCY
from apps.tenants.models import Role
from apps.tenants.services import require_role


class RuleForm(forms.Form):
    """What can be changed of a rule."""

    margin = forms.IntegerField(
        label=gettext_lazy("Percentage points above the operating point"),
        min_value=0,
        max_value=99,
        initial=0,
        help_text=gettext_lazy("0: every flagged finding is critical."),
    )
    minutes = forms.IntegerField(
        label=gettext_lazy("Minutes until escalation"),
        min_value=1,
        max_value=LONGEST_MINUTES,
        initial=15,
        help_text=gettext_lazy("How long those who are notified first have for the acknowledgement."),
    )
    people = forms.MultipleChoiceField(
        label=gettext_lazy("Notified first"), required=False, widget=forms.CheckboxSelectMultiple
    )
    escalate_to = forms.MultipleChoiceField(
        label=gettext_lazy("Notified at the escalation"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("Without anybody: the administrators."),
    )
    is_active = forms.BooleanField(label=gettext_lazy("In force"), required=False, initial=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = [(str(each.pk), f"{each.user} ({each.get_role_display()})") for each in members()]
        for name in ("people", "escalate_to"):
            cast(forms.MultipleChoiceField, self.fields[name]).choices = named

    def values(self) -> RuleValues:
        cleaned = self.cleaned_data
        return RuleValues(
            margin=cleaned["margin"],
            minutes=cleaned["minutes"],
            is_active=cleaned["is_active"],
            people=[UUID(each) for each in cleaned["people"]],
            escalate_to=[UUID(each) for each in cleaned["escalate_to"]],
        )


class NewRuleForm(RuleForm):
    """A new rule; its finding is chosen once."""

    label = forms.ChoiceField(label=gettext_lazy("Finding"))
    field_order = ("label", "margin", "minutes", "people", "escalate_to", "is_active")

    def __init__(self, *args: Any, labels: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(label, finding_name(label)) for label in labels]
        cast(forms.ChoiceField, self.fields["label"]).choices = choices


@require_http_methods(["GET", "POST"])
@members_only
def rules(request: MemberRequest) -> HttpResponse:
    """All rules; a POST adds one."""
    require_role(request.membership, Role.ADMIN)
    lines = rule_lines()
    taken = {line.rule.label for line in lines}
    free = [label for label in URGENCY if label not in taken]
    form = NewRuleForm(request.POST if request.method == "POST" else None, labels=free)
    if request.method == "POST" and form.is_valid():
        try:
            add_rule(
                label=form.cleaned_data["label"],
                values=form.values(),
                membership=request.membership,
                by=actor_of(request),
            )
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, _("Saved. It holds for studies that are read from now on."))
            return redirect("portal:critical-rules")
    context = {"lines": lines, "form": form if free else None, "can_mail": can_mail()}
    return render(request, "portal/settings/critical_rules.html", context)


@require_http_methods(["GET", "POST"])
@members_only
def rule(request: MemberRequest, rule_id: UUID) -> HttpResponse:
    """One rule; a POST changes it."""
    require_role(request.membership, Role.ADMIN)
    line = next((each for each in rule_lines() if each.rule.pk == rule_id), None)
    if line is None:
        raise NotFoundError(_("This hospital has no such rule."), "rule-not-found")
    form = RuleForm(request.POST if request.method == "POST" else None, initial=_initial(line))
    if request.method == "POST" and form.is_valid():
        try:
            change_rule(rule_id=rule_id, values=form.values(), membership=request.membership, by=actor_of(request))
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, _("Saved. It holds for studies that are read from now on."))
            return redirect("portal:critical-rules")
    context = {"line": line, "form": form, "can_mail": can_mail()}
    return render(request, "portal/settings/critical_rule.html", context)


@require_POST
@members_only
def remove(request: MemberRequest, rule_id: UUID) -> HttpResponse:
    removed = remove_rule(rule_id=rule_id, membership=request.membership, by=actor_of(request))
    messages.success(
        request,
        _("%(finding)s is no longer critical. Notices that are open stay open.")
        % {"finding": finding_name(removed.label)},
    )
    return redirect("portal:critical-rules")


def _initial(line: RuleLine) -> dict[str, Any]:
    return {
        "margin": line.rule.margin,
        "minutes": line.rule.minutes,
        "is_active": line.rule.is_active,
        "people": [str(each.member_id) for each in line.first],
        "escalate_to": [str(each.member_id) for each in line.escalation],
    }
