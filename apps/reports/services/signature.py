"""The service that signs a report, an amendment or an addendum."""

import datetime
import hashlib
from typing import Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, OutOfSpaceError, UnavailableError
from apps.core.finding_names import finding_name
from apps.core.text import clean_text
from apps.core.work_queue import OPEN_STATES
from apps.critical.models import Closing
from apps.critical.notices import close_notices
from apps.events.models import TenantEvent
from apps.events.tenant_events import publish_to_tenant
from apps.inference.models import InferenceJob
from apps.inference.selectors import latest_job
from apps.reports.models import AddendumDraft, Report, ReportStatus
from apps.reports.pdf import document_of
from apps.reports.printed import patient_key, patient_of
from apps.reports.selectors import (
    hides_findings,
    is_complete,
    reader_findings_of,
    rejection_of_image,
    report_of,
    stored_draft,
    verdicts_of,
)
from apps.reports.services.drafts import LONGEST_IMPRESSION, LONGEST_REASON, close_draft, restore_signed
from apps.reports.services.locking import lock_study
from apps.reports.services.verdicts import agree_with, without_verdict
from apps.reports.signals import report_signed
from apps.reports.states import MAY, Action, require_action, state_of
from apps.studies.models import Study, object_key
from apps.studies.selectors import count_images
from apps.studies.storage import put_bytes
from apps.tenants.models import Membership
from apps.tenants.services import require_role

# Within this time, the same request of the same person is a second press of the button.
_PRESSED_TWICE: Final = datetime.timedelta(minutes=1)
_ACTIONS: Final = {
    Action.SIGN: AuditEvent.Action.REPORT_SIGNED,
    Action.AMEND: AuditEvent.Action.REPORT_AMENDED,
    Action.ADDEND: AuditEvent.Action.REPORT_ADDENDED,
}


def sign_report(
    *,
    study: Study,
    user: User,
    membership: Membership | None,
    impression: str,
    amends: int = 0,
    reason: str = "",
    is_addendum: bool = False,
    agree_rest: bool = False,
    without_ai: bool = False,
    patient_seen: str = "",
) -> Report:
    """Sign the study's report in a radiologist's name, amend it or add to it, and store the PDF.

    A report is about the latest result of the AI; where the latest reading gave none, it says that no AI was used. An
    amendment may instead correct the text on the reading of the version before. An addendum keeps that reading, its
    verdicts and its text. The version keeps the verdicts and the readers' findings of this moment. The study's row
    stays locked until the transaction ends: of two signatures the second is refused, and an image that arrives
    meanwhile counts as new.

    Args:
        impression: the text; of an addendum, what it adds.
        amends: the number of the signed version that the reader saw; 0 where none was signed.
        reason: why that version is amended or added to.
        agree_rest: agree with all flagged findings that have no verdict.
        without_ai: the reader saw no result, and does not wait for one.
        patient_seen: ``patient_key`` of the patient whom the reader saw; empty where it is not known.

    Raises:
        NotPermittedError: the member is not a radiologist.
        NotFoundError, WithdrawnError: there is no such study.
        ConflictError: another version was signed meanwhile; the study is being read, or was; its patient changed; a
            flagged finding has no verdict.
        InvalidInputError: the impression is empty or too long, or an amendment has no reason.
        UnavailableError: the PDF could not be made or stored.
    """
    action = Action.ADDEND if is_addendum else Action.AMEND if amends else Action.SIGN
    require_role(membership, MAY[action])
    text = clean_text(impression, name="impression", longest=LONGEST_IMPRESSION)
    why = clean_text(reason, name="reason", longest=LONGEST_REASON) if amends else ""
    with transaction.atomic():
        study = lock_study(study)
        current = report_of(study)
        if current is not None and _is_pressed_twice(current, user, amends, (text, why)):
            return current
        _require_seen(current, amends)
        require_action(state_of(study), action)
        _require_text(text, is_addendum)
        if current is not None and not why:
            raise InvalidInputError(_("Enter the reason for the amendment."), "amendment-reason-missing")
        _require_patient(study, patient_seen)
        if is_addendum and current is not None:
            job, verdicts = current.job, current.verdicts
        else:
            job = _job_to_sign(study, current, without_ai)
            _require_verdicts(study, job, user, agree_rest)
            verdicts = verdicts_of(job) if is_complete(job) else {}
        report = Report(
            study=study,
            job=job,
            number=1 if current is None else current.number + 1,
            status=ReportStatus.FINAL if current is None else ReportStatus.AMENDED,
            impression=current.impression if is_addendum and current is not None else text,
            addendum=text if is_addendum else "",
            amends=current,
            reason=why,
            verdicts=verdicts,
            reader_findings=reader_findings_of(study),
            draft_revision=stored_draft(study, current).revision + 1,
            image_count=count_images([study.pk]).get(study.pk, 0),
            signed_by=user,
            signed_at=timezone.now(),
            printed=patient_of(study),
        )
        _print_and_store(report)
        close_draft(report, keep_newer_result=is_addendum)
        if is_addendum:
            AddendumDraft.objects.filter(study=study, saved_by=user).delete()
            restore_signed(report)
        else:
            close_notices(study_id=study.pk, closing=Closing.SIGNED, user_id=user.pk, until_job=report.job_id)
        record(action=_ACTIONS[action], by=user_actor(user.pk), object_id=report.pk)
        _publish(report)
        report_signed.send(Report, study_id=study.pk)
    return report


def _publish(report: Report) -> None:
    kind = TenantEvent.Type.REPORT_AMENDED if report.amends_id else TenantEvent.Type.REPORT_SIGNED
    data = {
        "study": str(report.study_id),
        "report": str(report.pk),
        "number": report.number,
        "is_addendum": bool(report.addendum),
    }
    publish_to_tenant(kind=kind, data={report.pk: data})


def _print_and_store(report: Report) -> None:
    document = document_of(report)
    report.pdf_sha256 = hashlib.sha256(document).hexdigest()
    try:
        put_bytes(object_key(report.tenant_id, report.pdf_sha256), document)
    except (OutOfSpaceError, UnavailableError) as error:
        raise UnavailableError(_("The object storage did not take the report; sign again later.")) from error
    report.save(force_insert=True)


def _is_pressed_twice(current: Report, user: User, amends: int, typed: tuple[str, str]) -> bool:
    assert current.signed_at is not None
    is_same = current.signed_by_id == user.pk and typed == (current.addendum or current.impression, current.reason)
    return is_same and current.number == amends + 1 and timezone.now() - current.signed_at < _PRESSED_TWICE


def _require_seen(current: Report | None, amends: int) -> None:
    if (current.number if current else 0) == amends:
        return
    if not amends:
        raise ConflictError(
            _("This report is signed already and no longer changes; it can be amended."), "report-signed"
        )
    raise ConflictError(
        _("Another version of this report was signed meanwhile. Reload the page and read it first."),
        "report-amended",
    )


def _require_text(text: str, is_addendum: bool) -> None:
    if text:
        return
    if is_addendum:
        raise InvalidInputError(_("Write what the addendum adds."), "addendum-missing")
    raise InvalidInputError(
        _("Write an impression before you sign: a report without one says nothing."), "impression-missing"
    )


def _require_patient(study: Study, seen: str) -> None:
    if seen and seen != patient_key(study):
        raise ConflictError(
            _("The patient data of this study changed since you opened it. Make sure whose study this is, then sign."),
            "patient-changed",
        )


def _job_to_sign(study: Study, current: Report | None, without_ai: bool) -> InferenceJob | None:
    """The reading that the version is about; None where the study has none yet."""
    latest = latest_job(study)
    if latest is None:
        return None
    if latest.state in OPEN_STATES:
        if not without_ai:
            raise ConflictError(
                _("The AI is reading this study. Sign when its result is there, or sign without it."), "reading-open"
            )
        return current.job if current else None
    if not is_complete(latest):
        return current.job if current is not None and is_complete(current.job) else latest
    if without_ai:
        raise ConflictError(
            _("The AI's result arrived since you opened this study. Look at it, then sign."), "reading-arrived"
        )
    if rejection_of_image(latest) is not None:
        raise ConflictError(_("The image that the AI read was rejected since. Reload the page."), "image-rejected")
    return latest


def _require_verdicts(study: Study, job: InferenceJob | None, user: User, agree_rest: bool) -> None:
    if job is None or not is_complete(job):
        return
    if hides_findings(study, user):
        raise ConflictError(_("Commit your impression first. Then the AI's findings are shown."), "commit-first")
    missing = without_verdict(job)
    if missing and agree_rest:
        agree_with(missing, user)
    elif missing:
        names = ", ".join(finding_name(each.label) for each in missing)
        raise ConflictError(
            _("Flagged and without your verdict: %(findings)s. Agree or disagree with each, or agree with the rest.")
            % {"findings": names},
            "verdicts-missing",
        )
