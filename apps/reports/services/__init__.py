"""Services of reports: drafts, verdicts, readers' findings, blind reading, signature, and the PDF."""

from apps.reports.services.blind import commit_impression, reveal_findings
from apps.reports.services.drafts import (
    LONGEST_IMPRESSION,
    DraftConflictError,
    create_drafts,
    discard_draft,
    save_addendum,
    save_draft,
)
from apps.reports.services.reader_findings import add_reader_finding, remove_reader_finding
from apps.reports.services.signature import sign_report
from apps.reports.services.stored_pdf import render_pdf
from apps.reports.services.verdicts import agree_with_rest, review_finding

__all__ = [
    "LONGEST_IMPRESSION",
    "DraftConflictError",
    "add_reader_finding",
    "agree_with_rest",
    "commit_impression",
    "create_drafts",
    "discard_draft",
    "remove_reader_finding",
    "render_pdf",
    "reveal_findings",
    "review_finding",
    "save_addendum",
    "save_draft",
    "sign_report",
]
