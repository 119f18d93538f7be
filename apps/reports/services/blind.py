"""Services for blind reading: the reader commits an impression, then the AI's findings are shown."""

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import record, user_actor
from apps.core.errors import ConflictError, InvalidInputError
from apps.core.text import clean_text
from apps.reading.models import AiDisplay
from apps.reading.selectors import reading_policy
from apps.reports.models import BlindStep
from apps.reports.selectors import stored_draft
from apps.reports.services.drafts import LONGEST_IMPRESSION, store_text
from apps.reports.services.locking import lock_study
from apps.reports.states import MAY, Action, require_action, state_of
from apps.studies.models import Study
from apps.tenants.models import Membership
from apps.tenants.services import require_role


def commit_impression(*, study: Study, impression: str, user: User, membership: Membership | None) -> BlindStep:
    """Store, once for each reader, what the reader concluded before the AI was shown; it becomes the draft's text.

    A second request of the same reader changes nothing and answers with the first.

    Raises:
        NotPermittedError: the member is not a radiologist.
        ConflictError: the hospital does not read blind, or the report is signed.
        InvalidInputError: the impression is empty or too long.
    """
    require_role(membership, MAY[Action.COMMIT])
    text = clean_text(impression, name="impression", longest=LONGEST_IMPRESSION)
    if not text:
        raise InvalidInputError(_("Write your impression before you commit it."), "impression-missing")
    with transaction.atomic():
        study = lock_study(study)
        if reading_policy().ai_display != AiDisplay.BLIND_FIRST:
            raise ConflictError(_("This hospital shows the AI's findings at once."), "not-blind")
        require_action(state_of(study), Action.COMMIT)
        step, is_new = BlindStep.objects.get_or_create(
            study=study, reader=user, kind=BlindStep.Kind.COMMITTED, defaults={"impression": text}
        )
        if is_new:
            draft = stored_draft(study, None)
            # The text of another reader stays.
            if draft.saved_by_id in (None, user.pk) and draft.impression != text:
                store_text(draft, text, user)
            record(action=AuditEvent.Action.IMPRESSION_COMMITTED, by=user_actor(user.pk), object_id=study.pk)
    return step


def reveal_findings(*, study: Study, user: User) -> None:
    """Record, once, that the AI's findings are shown to a reader who has committed an impression."""
    steps = BlindStep.objects.filter(study=study, reader=user)
    if [each.kind for each in steps] != [BlindStep.Kind.COMMITTED]:
        return
    _step, is_new = BlindStep.objects.get_or_create(study=study, reader=user, kind=BlindStep.Kind.REVEALED)
    if is_new:
        record(action=AuditEvent.Action.FINDINGS_REVEALED, by=user_actor(user.pk), object_id=study.pk)
