"""Services of the review of discordances: what a second reader found, and how it is undone."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.quality.inbox import author_of
from apps.quality.models import Discordance, Resolution
from apps.quality.services import count_again
from apps.reports.services.locking import lock_study
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role


def resolve_discordance(
    *, discordance_id: UUID, resolution: str, user: User, membership: Membership | None, report_id: str = ""
) -> Discordance:
    """Store what a second reader found. The report does not change: it is amended on the study's page.

    Args:
        resolution: one of `Resolution`.
        report_id: the version of the report that the reader saw; empty where the caller does not know it.

    Raises:
        NotPermittedError: the member is not a radiologist.
        InvalidInputError: there is no such resolution.
        NotFoundError: the hospital has no such discordance, or its study is withdrawn.
        ConflictError: the reader signed the report; it was amended or resolved meanwhile; report and AI agree by now.
    """
    require_role(membership, Role.RADIOLOGIST)
    if resolution not in Resolution.values:
        raise InvalidInputError(_("Choose who was right, or that it is unclear."), "resolution-unknown")
    with transaction.atomic():
        found = _locked(discordance_id)
        if found.resolution:
            raise ConflictError(_("Another reader has reviewed this meanwhile. Reload the page."), "reviewed-already")
        if found.ended_at is not None:
            raise ConflictError(_("The report in force and the AI agree by now. Reload the page."), "no-discordance")
        if report_id and report_id != str(found.report_id):
            raise ConflictError(_("The report was amended meanwhile. Reload the page."), "report-amended")
        if author_of(found.study_id) == user.pk:
            raise ConflictError(_("You signed this report. Another radiologist reviews it."), "own-report")
        found.resolution, found.resolved_by, found.resolved_at = resolution, user, timezone.now()
        found.save()
        record(action=AuditEvent.Action.DISCORDANCE_REVIEWED, by=user_actor(user.pk), object_id=found.pk)
    return found


def undo_resolution(*, discordance_id: UUID, user: User, membership: Membership | None) -> Discordance:
    """Take back what a second reader found; the discordance waits for a review again, where report and AI differ.

    Raises:
        NotPermittedError: the member is not a radiologist.
        NotFoundError: the hospital has no such discordance, or its study is withdrawn.
        ConflictError: it is not resolved; the reader signed the report, and another one reviewed it.
    """
    require_role(membership, Role.RADIOLOGIST)
    with transaction.atomic():
        found = _locked(discordance_id)
        if not found.resolution:
            raise ConflictError(_("This waits for a review already. Reload the page."), "not-reviewed")
        if author_of(found.study_id) == user.pk != found.resolved_by_id:
            raise ConflictError(_("You signed this report. Another radiologist reviews it."), "own-report")
        found.resolution, found.resolved_by, found.resolved_at = "", None, None
        found.save()
        # The report may have been amended since the review.
        count_again(study_id=found.study_id)
        found.refresh_from_db()
        record(action=AuditEvent.Action.DISCORDANCE_REOPENED, by=user_actor(user.pk), object_id=found.pk)
    return found


def _locked(discordance_id: UUID) -> Discordance:
    """The discordance. Its study is locked first, as a signature does, and then the row."""
    known = Discordance.objects.select_related("study").filter(pk=discordance_id, study__withdrawn=None).first()
    if known is None:
        raise NotFoundError(_("There is nothing to review here. Its study may be withdrawn."), "discordance-not-found")
    lock_study(known.study)
    return Discordance.objects.select_for_update(of=("self",)).get(pk=discordance_id)
