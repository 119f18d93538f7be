"""The change plan as pages and as a document, and the plan that the software comes with."""

from django.conf import settings
from django.template.loader import render_to_string

from apps.core.documents import require_pdf, stylesheet, to_pdf
from apps.deployment.models import ChangePlan
from apps.evaluation.sections import Section
from apps.registry import engine

PARTS = ("allowed_changes", "protocol", "acceptance_limits", "impact", "rollback")
_DEFAULT = {
    "allowed_changes": (
        "Allowed: another model version for the same findings and the same input (one frontal chest radiograph), "
        "trained or imported; other operating points; a recalibration of a hospital's probabilities by its "
        "declared prevalence or by its readers' verdicts.\n"
        "Not allowed under this plan: other findings, other images, another intended use, or use without a "
        "radiologist. These need a new version of the plan."
    ),
    "protocol": (
        "1. The version is registered with its data, its training and its SHA-256; it cannot be changed afterwards.\n"
        "2. It is evaluated on every active evaluation set, by patients that it was not trained on, with intervals by "
        "sex, age and view.\n"
        "3. Its release gates compare it with the version in service.\n"
        "4. The switch is previewed on each concerned hospital's recent studies, or it reads beside the version in "
        "service as a shadow or a canary.\n"
        "5. An operator activates it with a reason; a second one confirms, where the platform requires it. The ledger "
        "keeps who, when, why, the previews, overridden gates and this plan's number.\n"
        "6. A recalibration is previewed on the hospital's recent studies before it takes effect, and flags the same "
        "studies. Operating points show beforehand what they would flag.\n"
        "7. The figures of each week are compared with a reference (drift)."
    ),
    "acceptance_limits": (
        "Every release gate passes, and the version lies above the floor, by the limits below. An "
        "override needs a reason and is listed in the ledger.\n"
        "The preview shows no change of the flagged studies that the hospital has not accepted.\n"
        "A recalibration lowers the calibration error on studies that it was not fitted on, or follows a declared "
        "prevalence."
    ),
    "impact": (
        "A worse version misses findings or raises more false alarms: limited by the gates, the preview, and the "
        "radiologist, who reads every film and signs every report.\n"
        "A threshold that does not fit the new version: limited by carrying over what each hospital chose, by "
        "sensitivity or by share of flagged studies.\n"
        "Films unlike those that the version was measured on: limited by the input check and by drift alarms."
    ),
    "rollback": (
        "When: a drift alarm without a harmless cause, an evaluation below the limits, or the readers' disagreement.\n"
        "How: an operator rolls back; the former version and its operating points return together, without release "
        "gates, as soon as a worker has loaded it. A recalibration is taken back in the same way by the hospital. "
        "Results that were read meanwhile name the version that read them, and can be found and read again."
    ),
    "reason": "The plan that the software comes with. The operator replaces it by an own one.",
}


def current_plan() -> ChangePlan:
    """The plan in force. The one that the software comes with is stored at the first use."""
    latest = ChangePlan.objects.first()
    if latest is None:
        latest, _ = ChangePlan.objects.get_or_create(number=1, defaults={**_DEFAULT, "actor": "Checxray"})
    return latest


def plan_sections(plan: ChangePlan) -> list[Section]:
    """The parts of a plan, and the limits that the platform's settings hold now."""
    parts = [_part(plan, name) for name in PARTS]
    limits = (
        (
            "Difference of mean AUROC, lower end of its 95 % interval",
            f"above {-settings.GATE_DELTA:+.3f}",
            "GATE_DELTA",
        ),
        ("Loss of AUROC of one finding", f"at most {settings.FLOOR_LABEL_DELTA:.3f}", "FLOOR_LABEL_DELTA"),
        ("More normal films flagged", f"at most {settings.FLOOR_ALARMS_DELTA:.3f}", "FLOOR_ALARMS_DELTA"),
        ("Larger calibration error", f"at most {settings.FLOOR_ECE_DELTA:.3f}", "FLOOR_ECE_DELTA"),
        (
            "Second operator for an activation",
            "required" if settings.ACTIVATION_NEEDS_SECOND_APPROVER else "not required",
            "ACTIVATION_NEEDS_SECOND_APPROVER",
        ),
        ("False drift alarms of a hospital in control", f"{engine.FALSE_ALARMS_PER_YEAR:g} per year", "fixed"),
    )
    table = engine.Table("Limits in force", ("Limit", "Value", "Set by"), limits)
    return [Section("What changed", [plan.reason]), *parts, Section("Limits in force now", table=table)]


def _part(plan: ChangePlan, name: str) -> Section:
    title = str(ChangePlan._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
    return Section(title.capitalize(), [line for line in getattr(plan, name).splitlines() if line.strip()])


def render_plan_pdf(plan: ChangePlan) -> bytes:
    """A plan as a tagged PDF/A file.

    Raises:
        UnavailableError: this machine lacks Pango or fonts; the detail has the install line.
    """
    require_pdf()
    context = {
        "plan": plan,
        "sections": plan_sections(plan),
        "as_document": True,
        "intended_use_notice": settings.INTENDED_USE_NOTICE,
    }
    html = render_to_string("deployment/change_plan.html", context)
    return to_pdf(html, stylesheet("documents/document.css"), stylesheet("evaluation/evaluation.css"))
