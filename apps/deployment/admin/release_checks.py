"""What an operator sees above the button of an activation: who is served, previews, the floor, and release gates."""

from collections.abc import Sequence

from django.forms import Form
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from apps.audit.operator_access import record_operator_access
from apps.core.html_tables import table
from apps.deployment.admin.previews import PreviewForm, can_be_previewed, render_previews, tenants_previewed
from apps.deployment.floor import FloorCheck, floor_checks
from apps.deployment.release_gates import ReleaseGate, ReleaseGateState, blocking_gates, release_gates_of
from apps.registry.missing_points import missing_points_warning
from apps.registry.models import ModelVersion


def release_gates_table(gates: Sequence[ReleaseGate]) -> SafeString | str:
    """A version's release gate on each active set, with its state and the reason."""
    rows = []
    for gate in gates:
        interval = f" ({gate.ci95[0]:+.3f} to {gate.ci95[1]:+.3f})" if gate.ci95 else ""
        difference = "–" if gate.difference is None else f"{gate.difference:+.3f}{interval}"
        rows.append((gate.evaluation_set, gate.state.label, difference, gate.reason))
    return (
        table(("Set", "Release gate", "Mean AUROC minus that of the version in service (95 % CI)", "Why"), rows)
        if rows
        else "None"
    )


def floor_table(checks: Sequence[FloorCheck]) -> SafeString:
    """Every check of the floor, with its outcome and the reason."""
    outcomes = {True: "Passed", False: "Failed", None: "Not compared"}
    return table(("Check", "Outcome", "Why"), [(each.rule, outcomes[each.passed], each.reason) for each in checks])


def _name_override(form: Form, failed: Sequence[FloorCheck], blocking: Sequence[ReleaseGate]) -> None:
    """Say at the box that overrides the checks which ones it would override."""
    field = form.fields["despite_gate"]
    names = [f"floor, {each.rule}" for each in failed]
    names += [f"{each.evaluation_set}, {each.state.label.lower()}" for each in blocking]
    if names:
        field.label = f"Override the release gate: {'; '.join(names)}"
        field.help_text = "The ledger keeps what was overridden, and your reason."
    else:
        field.help_text = "Not needed: no check failed, and no release gate blocks this version."


def _count(passed: int, checks: Sequence[object]) -> str:
    return f"{passed} of {len(checks)} passed" if checks else "none"


def with_release_checks(
    page: TemplateResponse,
    request: HttpRequest,
    version: ModelVersion,
    preview_form: PreviewForm | None = None,
    *,
    serving: ModelVersion | None,
    served: SafeString,
) -> TemplateResponse:
    """Show above the page's form what it would do; with ``preview_form``, also the form that requests a preview.

    Args:
        serving: the version that this one is compared with.
        served: which version serves whom now, and after it.
    """
    record_operator_access(request, tenants_previewed(version), object_id=version.pk)
    floor, gates = floor_checks(version, serving), release_gates_of(version)
    context = page.context_data or {}
    if "despite_gate" in context["form"].fields:
        failed = [each for each in floor if each.passed is False and version != serving]
        _name_override(context["form"], failed, blocking_gates(gates))
    page.template_name = "admin/registry/modelversion/activate.html"
    page.context_data = {
        **context,
        "version": version,
        "served": served,
        "floor": floor_table(floor),
        "floor_summary": _count(sum(each.passed is True for each in floor), floor),
        "gates": release_gates_table(gates),
        "gates_summary": _count(sum(each.state == ReleaseGateState.PASSED for each in gates), gates),
        "missing_points": missing_points_warning(version),
        "preview_form": preview_form,
        "can_be_previewed": can_be_previewed(version),
        "live": render_previews(version),
    }
    return page
