"""Signs the report of a study as a reader does, with the verdicts that a test chooses."""

from collections.abc import Mapping, Sequence
from typing import Any

from apps.inference.models import Finding
from apps.reports.models import Report
from apps.reports.selectors import report_of, stored_draft
from apps.reports.services import add_reader_finding, review_finding, save_draft, sign_report
from apps.studies.models import Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital


def sign(
    hospital: Hospital,
    study: Study,
    verdicts: Mapping[str, str] | None = None,
    added: Sequence[str] = (),
    user: Any = None,
) -> Report:
    """Give verdicts on the latest reading, add findings, agree with the rest, and sign or amend the report."""
    user = user or hospital.radiologist
    with tenant_tx(hospital.tenant.pk):
        member = Membership.objects.get(user_id=user.pk)
        by: dict[str, Any] = {"user": user, "membership": member}
        current = report_of(study)
        if current is not None:
            revision = stored_draft(study, current).revision
            save_draft(study=study, impression="Again.", reason="Looked again.", revision=revision, **by)
        for label, verdict in (verdicts or {}).items():
            finding = Finding.objects.filter(job__study=study, label=label).order_by("-job_id").first()
            assert finding is not None
            review_finding(finding=finding, verdict=verdict, **by)
        for name in added:
            add_reader_finding(study=study, name=name, **by)
        amends = {"amends": current.number, "reason": "Looked again."} if current is not None else {}
        impression = f"Version {current.number + 1 if current else 1}."
        return sign_report(study=study, impression=impression, agree_rest=True, **amends, **by)
