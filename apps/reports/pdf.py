"""Renders a report's contents as PDF; the template escapes every text."""

from django.conf import settings
from django.template.loader import render_to_string

from apps.core.documents import require_pdf, stylesheet, to_pdf
from apps.reports.contents import ReportContents


def render(contents: ReportContents) -> bytes:
    """The report as a tagged PDF/A-3u file.

    Raises:
        UnavailableError: this machine lacks Pango or fonts; the detail has the install line.
    """
    require_pdf()
    html = render_to_string(
        "reports/report.html", {"it": contents, "intended_use_notice": settings.INTENDED_USE_NOTICE}
    )
    return to_pdf(html, stylesheet("documents/document.css"))
