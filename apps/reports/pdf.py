"""Renders a report as PDF, in the language and the time zone of the hospital; the template escapes every text."""

from urllib.parse import quote

from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from apps.core.context_processors import intended_use_notice
from apps.core.documents import require_pdf, stylesheet, to_pdf
from apps.reading.selectors import reading_policy
from apps.reports.contents import ReportContents, contents_of
from apps.reports.models import Report


def document_of(report: Report) -> bytes:
    """The report as a file of `render`.

    Raises:
        UnavailableError: this machine lacks Pango or fonts, or the image cannot be read; the detail says what to do.
    """
    policy = reading_policy()
    with translation.override(policy.language), timezone.override(policy.time_zone):
        return render(contents_of(report))


def render(contents: ReportContents) -> bytes:
    """The report as PDF/A-3u and PDF/UA-1.

    Raises:
        UnavailableError: this machine lacks Pango or fonts; the detail has the install line.
    """
    require_pdf()
    html = render_to_string("reports/report.html", {"it": contents, "intended_use_notice": intended_use_notice()})
    css = stylesheet("documents/document.css").replace("PRELIMINARY", quote(_("Preliminary").upper()))
    return to_pdf(html, css)
