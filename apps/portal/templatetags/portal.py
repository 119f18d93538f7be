"""Template tags and filters that format values for the portal's pages."""

import datetime
import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django import template
from django.conf import settings
from django.contrib.staticfiles import finders
from django.template import Context
from django.templatetags.static import static
from django.utils.formats import date_format, number_format
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext, gettext_lazy, ngettext

from apps.core import catalogues, finding_names
from apps.critical.selectors import waiting_for
from apps.deployment.ledger.service_history import latest_version_change
from apps.deployment.stops import stops_for
from apps.inference.models import InferenceJob
from apps.inference.stored_texts import stored_text
from apps.portal.next_study import list_address
from apps.reading.selectors import texts_for
from apps.registry import engine
from apps.studies.models import Study
from apps.tenants.models import Membership

register = template.Library()

_STATUS = {
    "received": gettext_lazy("Received"),
    "queued": gettext_lazy("Waiting for AI"),
    "running": gettext_lazy("AI is reading"),
    "complete": gettext_lazy("Read by AI"),
    "rejected": gettext_lazy("Not read"),
    "failed": gettext_lazy("Failed"),
}
_AGE = re.compile(r"0*(\d+)([DWMY])")
_SEX = {"M": gettext_lazy("male"), "F": gettext_lazy("female"), "O": gettext_lazy("other sex")}


@register.simple_tag
def icon(name: str) -> SafeString:
    """A symbol of the SVG sprite; it decorates a text that the page also has."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        static("img/icons.svg"),
        name,
    )


@register.simple_tag
def viewer_bundle() -> str:
    """The address of the viewer's script, which `make viewer` builds; empty where it is not built.

    Its name has a hash of its own. Under another name, its other files would load it a second time.
    """
    entry = _viewer_entry()
    return f"{settings.STATIC_URL}viewer/{entry}" if entry else ""


@functools.cache
def _viewer_entry() -> str:
    manifest = finders.find("viewer/manifest.json")
    if not manifest:
        return ""
    entry: str = json.loads(Path(manifest).read_text())["index.js"]["file"]
    return entry


@register.simple_tag
def script_texts() -> str:
    """The translations for the scripts as a JSON block, which no browser executes; nothing on an English page."""
    language = get_language() or "en"
    texts = catalogues.script_texts(language)
    if not texts:
        return ""
    names = {label: [finding_names.finding_name(label)] for label in finding_names.FINDINGS}
    return json_script(texts | names, "texts")


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


@register.inclusion_tag("portal/_critical_banner.html", takes_context=True)
def critical_banner(context: Context) -> dict[str, Any]:
    """The critical results that wait for the signed-in member."""
    return {"waiting": waiting_for(context["membership"])}


@register.inclusion_tag("portal/_text_picker.html", takes_context=True)
def text_picker(context: Context, study: Study, revision: int) -> dict[str, Any]:
    """The list of texts to insert into an impression, at the end of the form that has it.

    Args:
        revision: of the stored draft, for a browser without the script.
    """
    texts = texts_for(context["user"])
    names = {block.name for block in texts}
    return {"study": study, "revision": revision, "texts": texts, "names": names}


@register.simple_tag(takes_context=True)
def worklist_address(context: Context) -> str:
    """The address of the list that the member saw last: leaving a study keeps filters and page."""
    return list_address(context["request"])


@register.filter
def status_text(status: str) -> str:
    return str(_STATUS.get(status, status))


@register.filter
def sop_class_name(sop_class_uid: str) -> str:
    """The name of a SOP class, such as ``Comprehensive SR``; the UID itself where it is unknown."""
    return engine.SOP_CLASSES.get(sop_class_uid, sop_class_uid).removesuffix(" Storage")


@register.filter
def reason_text(job: InferenceJob) -> str:
    """Why a study was not read, as it is stored with the job."""
    return stored_text(job.reason_code, job.reason)


@register.filter
def finding_name(label: str) -> str:
    """The display name of a label: ``Pleural thickening`` for ``Pleural_Thickening``."""
    return finding_names.finding_name(label)


@register.filter
def finding_names_of(labels: Iterable[str]) -> str:
    """The display names of several labels, in one text."""
    return ", ".join(finding_names.finding_name(label) for label in labels)


@register.filter
def percent(value: float | None) -> str:
    """A probability in per cent with one decimal, never rounded to 0 or 100."""
    if value is None:
        return ""
    return number_format(round(min(max(value * 100, 0.1), 99.9), 1), 1)


@register.filter
def share(value: float) -> str:
    """A share in per cent with one decimal."""
    return number_format(round(value * 100, 1), 1)


@register.filter
def taken(value: datetime.timedelta | None) -> str:
    """How long something took, in the unit that suits it."""
    if value is None:
        return "–"
    seconds = value.total_seconds()
    if seconds < 99.5:
        return gettext("%(count)s s") % {"count": number_format(round(seconds))}
    if seconds < 5970:
        return gettext("%(count)s min") % {"count": number_format(round(seconds / 60))}
    if seconds < 172_800:
        return gettext("%(count)s h") % {"count": number_format(round(seconds / 3600, 1), 1)}
    return gettext("%(count)s days") % {"count": number_format(round(seconds / 86_400, 1), 1)}


@register.filter
def percentage_points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return ("+" if value >= 0 else "") + number_format(round(value * 100, 1), 1)


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


@register.filter(expects_localtime=True)
def date_time(value: datetime.datetime | None) -> str:
    """Date and time as the language in force writes them, with the time zone."""
    return f"{date_format(value, 'DATETIME_FORMAT')} {date_format(value, 'e')}" if value else ""


@register.filter
def age(value: str) -> str:
    """A DICOM Age String (PS3.5 6.2), such as 045Y."""
    match = _AGE.fullmatch(value)
    if not match:
        return value
    number = int(match[1])
    units = {
        "D": ngettext("%(number)s day", "%(number)s days", number),
        "W": ngettext("%(number)s week", "%(number)s weeks", number),
        "M": ngettext("%(number)s month", "%(number)s months", number),
        "Y": gettext("%(number)s y"),
    }
    return units[match[2]] % {"number": number}


@register.filter
def sex(value: str) -> str:
    return str(_SEX.get(value.upper(), value))
