"""Hospital settings, Rules: what happens to arriving objects, in which order, and how long a study waits for images."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError, InvalidInputError, NotFoundError
from apps.core.text import whole_number
from apps.inference.models import Priority
from apps.inference.stored_texts import SENTENCES
from apps.ingest.explanation import BUILT_IN_CHECKS
from apps.ingest.release import MOST_AT_ONCE, read_kept_back
from apps.portal.access import MemberRequest, members_only
from apps.registry import engine
from apps.routing import rule_services as services
from apps.routing.models import Destination
from apps.routing.rule_history import history as versions
from apps.routing.rule_selectors import intake_policy, refused_in_all, rule_counts
from apps.routing.rules import CONDITIONS, LONGEST_CONDITION, LONGEST_NAME, Action, Rule
from apps.tenants.models import Role
from apps.tenants.services import require_role

_PRIORITIES = {
    Priority.STAT: gettext_lazy("STAT: before all others, and without quiet time"),
    Priority.HIGH: gettext_lazy("High"),
    Priority.ROUTINE: gettext_lazy("Routine"),
    Priority.LOW: gettext_lazy("Low"),
}


class QuietTimeForm(forms.Form):
    seconds = forms.IntegerField(
        label=gettext_lazy("Quiet time in seconds"),
        min_value=0,
        max_value=services.LONGEST_QUIET_SECONDS,
        help_text=gettext_lazy("A study is read when no image of it has arrived for this time. 0: it is read at once."),
    )
    longest_wait_minutes = forms.IntegerField(
        label=gettext_lazy("Longest wait in minutes"),
        min_value=1,
        max_value=services.LONGEST_WAIT_MINUTES,
        help_text=gettext_lazy(
            "At the latest this long after its first image the study is read, even while more images arrive."
        ),
    )


class RuleForm(forms.Form):
    """One rule. The fields of the conditions are named by their DICOM keywords."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=LONGEST_NAME,
        help_text=gettext_lazy("Senders and colleagues read it, so leave out patient data."),
    )
    action = forms.ChoiceField(label=gettext_lazy("What happens"), choices=Action.choices, initial=Action.READ)
    priority = forms.TypedChoiceField(
        label=gettext_lazy("Priority of the reading"),
        required=False,
        coerce=int,
        empty_value=None,
        choices=[
            ("", gettext_lazy("As the sender asks")),
            *((str(key.value), name) for key, name in _PRIORITIES.items()),
        ],
    )
    destinations = forms.MultipleChoiceField(
        label=gettext_lazy("Send the results only to"), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        classes = sorted(engine.SOP_CLASSES.items(), key=lambda item: item[1])
        for keyword, name in CONDITIONS.items():
            label = str(name)
            if keyword == "SOPClassUID":
                choices = [("", _("any")), *((uid, name.removesuffix(" Storage")) for uid, name in classes)]
                self.fields[keyword] = forms.ChoiceField(label=label, required=False, choices=choices)
            else:
                self.fields[keyword] = forms.CharField(label=label, required=False, max_length=LONGEST_CONDITION)
        names = [(str(pk), name) for pk, name in _destinations().items()]
        if names:
            self.fields["destinations"].choices = names  # type: ignore[attr-defined]
            self.fields["destinations"].help_text = _("None: to every destination that takes them.")
        else:
            del self.fields["destinations"]

    @property
    def condition_fields(self) -> list[forms.BoundField]:
        return [self[keyword] for keyword in CONDITIONS]

    @property
    def other_fields(self) -> list[forms.BoundField]:
        return [field for field in self if field.name not in CONDITIONS]

    def values(self) -> services.RuleValues:
        cleaned = self.cleaned_data
        return services.RuleValues(
            name=cleaned["name"],
            conditions={keyword: cleaned[keyword] for keyword in CONDITIONS},
            action=cleaned["action"],
            priority=cleaned["priority"],
            destinations=[UUID(each) for each in cleaned.get("destinations", [])],
        )


@require_http_methods(["GET", "POST"])
@members_only
def rules(request: MemberRequest) -> HttpResponse:
    """All rules in their order; a POST sets the quiet time."""
    require_role(request.membership, Role.ADMIN)
    policy = intake_policy()
    shown = {"seconds": policy.quiet_seconds, "longest_wait_minutes": policy.longest_wait_minutes}
    form = QuietTimeForm(request.POST if request.method == "POST" else None, initial=shown)
    if request.method == "POST" and form.is_valid():
        try:
            services.set_quiet_time(**form.cleaned_data, editor=_editor(request))
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, _("Saved. It holds from the next image on."))
            return redirect("portal:rules")
    counts, names = rule_counts(), _destinations()
    context = {
        "policy": policy,
        "form": form,
        "rows": [
            {
                "rule": rule,
                "counts": counts.get(rule.id),
                "priority": "" if rule.priority is None else _(Priority(rule.priority).label),
                "destinations": [names.get(each, _("a removed destination")) for each in rule.destinations],
            }
            for rule in policy.own_rules
        ],
        "removed": [
            {"id": rule_id, "counts": found}
            for rule_id, found in counts.items()
            if rule_id not in {rule.id for rule in policy.own_rules}
        ],
        "built_in_checks": [_(SENTENCES[code]) for code in BUILT_IN_CHECKS],
        "refused": refused_in_all(),
    }
    return render(request, "portal/settings/rules.html", context)


@require_http_methods(["GET", "POST"])
@members_only
def new_rule(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    return _edit(request, None)


@require_http_methods(["GET", "POST"])
@members_only
def rule(request: MemberRequest, rule_id: UUID) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    found = next((each for each in intake_policy().own_rules if each.id == rule_id), None)
    if found is None:
        raise NotFoundError(_("There is no such rule. It may have been removed meanwhile."), "rule-not-found")
    return _edit(request, found)


def _edit(request: MemberRequest, found: Rule | None) -> HttpResponse:
    """The form of a rule; None is a new one."""
    form = RuleForm(request.POST if request.method == "POST" else None, initial=_initial(found) if found else None)
    if request.method == "POST" and form.is_valid():
        try:
            if found is None:
                services.add_rule(form.values(), editor=_editor(request))
            else:
                services.change_rule(found.id, form.values(), editor=_editor(request))
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, _("Saved. It holds for objects that arrive from now on."))
            return redirect("portal:rules")
    context = {"rule": found, "form": form, "policy": intake_policy()}
    return render(request, "portal/settings/rule.html", context)


@require_POST
@members_only
def change(request: MemberRequest, rule_id: UUID) -> HttpResponse:
    """Move a rule, switch it on or off, remove it, or have the images read that it stored only."""
    require_role(request.membership, Role.ADMIN)
    editor = _editor(request)
    match request.POST.get("what"):
        case "up" | "down" as where:
            services.move_rule(rule_id, -1 if where == "up" else 1, editor=editor)
            text = _("The order is changed.")
        case "on" | "off" as state:
            services.switch_rule(rule_id, is_enabled=state == "on", editor=editor)
            text = _("The rule is in force.") if state == "on" else _("The rule is switched off.")
        case "remove":
            services.remove_rule(rule_id, editor=editor)
            text = _("The rule is removed. The history can put it in force again.")
        case "read":
            text = _of_release(read_kept_back(rule_id, editor=editor))
        case _:
            raise InvalidInputError(_("Choose what to do with the rule."), "rule-change-unknown")
    messages.success(request, text)
    return redirect("portal:rules")


@require_GET
@members_only
def history(request: MemberRequest) -> HttpResponse:
    """The versions of the rules: who changed what."""
    require_role(request.membership, Role.ADMIN)
    return render(request, "portal/settings/rules_history.html", {"lines": versions(), "policy": intake_policy()})


@require_POST
@members_only
def restore(request: MemberRequest, number: int) -> HttpResponse:
    services.restore_policy(number, editor=_editor(request))
    messages.success(request, _("Version %(number)d is in force again.") % {"number": number})
    return redirect("portal:rules")


def _editor(request: MemberRequest) -> services.Editor:
    """Who changes the rules, and the version that the page showed."""
    shown = whole_number(request.POST.get("number", ""), default=-1)
    return services.Editor(request.membership, actor_of(request), shown)


def _initial(found: Rule) -> dict[str, Any]:
    return {
        "name": found.name,
        "action": found.action,
        "priority": "" if found.priority is None else str(found.priority),
        "destinations": [str(each) for each in found.destinations],
        **found.conditions,
    }


def _destinations() -> dict[UUID, str]:
    """The names of the destinations that take result objects."""
    found = Destination.objects.exclude(kind=Destination.Kind.WEBHOOK).order_by("name")
    return dict(found.values_list("pk", "name"))


def _of_release(count: int) -> str:
    if not count:
        return _("No image waits to be read because of this rule.")
    text = ngettext("%(count)d image is read now.", "%(count)d images are read now.", count) % {"count": count}
    return text if count < MOST_AT_ONCE else _("%(text)s Press again for the others.") % {"text": text}
