"""Template tags and filters that format values for the portal's pages."""

import re
from typing import Any

from django import template
from django.template import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.deployment.ledger.service_history import latest_version_change
from apps.deployment.stops import stops_for
from apps.registry import engine
from apps.tenants.models import Membership

register = template.Library()

_STATUS = {
    "received": "Received",
    "queued": "Waiting for AI",
    "running": "AI is reading",
    "complete": "Read by AI",
    "rejected": "Not read",
    "failed": "Failed",
}
_AGE = re.compile(r"0*(\d+)([DWMY])")
_AGE_UNITS = {"D": "days", "W": "weeks", "M": "months", "Y": "y"}
_SEX = {"M": "male", "F": "female", "O": "other sex"}


@register.simple_tag
def icon(name: str) -> SafeString:
    """A symbol of the SVG sprite; it decorates a text that the page also has."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        static("img/icons.svg"),
        name,
    )


@register.inclusion_tag("portal/_ai_banners.html", takes_context=True)
def ai_banners(context: Context) -> dict[str, Any]:
    """The stops of the AI in force, and the latest change of version that the member has not dismissed."""
    membership = context["membership"]
    # The session's row is read by a role that does not see these columns.
    member = Membership.objects.filter(pk=membership.pk).values_list("notice_seen", "created").first()
    tenant_id = membership.tenant_id
    return {
        "stops": stops_for(tenant_id),
        "change": latest_version_change(tenant_id, after=member[0], since=member[1]) if member else None,
        "csrf_token": context.get("csrf_token"),
    }


@register.filter
def status_text(status: str) -> str:
    return _STATUS.get(status, status)


@register.filter
def sop_class_name(sop_class_uid: str) -> str:
    """The name of a SOP class, such as ``Comprehensive SR``; the UID itself where it is unknown."""
    return engine.SOP_CLASSES.get(sop_class_uid, sop_class_uid).removesuffix(" Storage")


@register.filter
def finding_name(label: str) -> str:
    """The display name of a label: ``Pleural thickening`` for ``Pleural_Thickening``."""
    return label.replace("_", " ").capitalize()


@register.filter
def percent(value: float | None) -> str:
    """A probability in per cent with one decimal, never rounded to 0 or 100."""
    if value is None:
        return ""
    return f"{min(max(value * 100, 0.1), 99.9):.1f}"


@register.filter
def share(value: float) -> str:
    """A share in per cent with one decimal."""
    return f"{value * 100:.1f}"


@register.filter
def percentage_points(value: float) -> str:
    """A difference of shares in percentage percentage_points, with its sign."""
    return f"{value * 100:+.1f}"


@register.filter
def against(probability: float, threshold: float | None) -> str:
    """The length of a bar, 0 to 100, with the operating point in the middle: probability and threshold as odds.

    Operating points of rare findings are at a few per cent, where a linear bar would be too short to see. Without an
    operating point the length is the probability.
    """
    if threshold is None:
        return f"{probability * 100:.2f}"
    above, below = probability * (1 - threshold), threshold * (1 - probability)
    return f"{100 * above / (above + below):.2f}" if above + below > 0 else "50.00"


@register.filter
def age(value: str) -> str:
    """A DICOM Age String (PS3.5 6.2), such as 045Y."""
    match = _AGE.fullmatch(value)
    return f"{match[1]} {_AGE_UNITS[match[2]]}" if match else value


@register.filter
def sex(value: str) -> str:
    return _SEX.get(value.upper(), value)
