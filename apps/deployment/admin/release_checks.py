"""What an operator sees before an activation: the floor, release gates, missing operating points, and previews."""

from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from apps.core.html_tables import table
from apps.deployment.admin.previews import PreviewForm, render_previews
from apps.deployment.floor import floor_checks
from apps.deployment.release_gates import release_gates_of
from apps.registry.missing_points import missing_points_warning
from apps.registry.models import ModelVersion


def release_gates_table(version: ModelVersion) -> SafeString | str:
    """A version's release gate on each active set, with its state and the reason."""
    rows = []
    for gate in release_gates_of(version):
        interval = f" ({gate.ci95[0]:+.3f} to {gate.ci95[1]:+.3f})" if gate.ci95 else ""
        difference = "–" if gate.difference is None else f"{gate.difference:+.3f}{interval}"
        rows.append((gate.evaluation_set, gate.state.label, difference, gate.reason))
    return (
        table(("Set", "Release gate", "Mean AUROC minus that of the version in service (95 % CI)", "Why"), rows)
        if rows
        else "None"
    )


def floor_table(version: ModelVersion, serving: ModelVersion | None) -> SafeString:
    """Every check of the floor, with its outcome and the reason."""
    outcomes = {True: "Passed", False: "Failed", None: "Not compared"}
    checks = floor_checks(version, serving)
    return table(("Check", "Outcome", "Why"), [(each.rule, outcomes[each.passed], each.reason) for each in checks])


def with_release_checks(
    page: TemplateResponse,
    version: ModelVersion,
    preview_form: PreviewForm | None = None,
    *,
    serving: ModelVersion | None,
) -> TemplateResponse:
    """Add the release checks below the page's form; with ``preview_form``, also the form that requests a preview.

    Args:
        serving: the version that this one is compared with.
    """
    page.template_name = "admin/registry/modelversion/activate.html"
    page.context_data = {
        **(page.context_data or {}),
        "version": version,
        "floor": floor_table(version, serving),
        "gates": release_gates_table(version),
        "missing_points": missing_points_warning(version),
        "preview_form": preview_form,
        "live": render_previews(version),
    }
    return page
