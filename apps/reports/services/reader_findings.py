"""Services for findings that a reader adds to a report."""

from typing import Final
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.core.finding_names import finding_name, label_of_name
from apps.core.text import clean_text
from apps.reports.models import ReaderFinding
from apps.reports.services.locking import lock_study
from apps.reports.states import MAY, Action, require_action, state_of
from apps.studies.models import Instance, Study
from apps.studies.selectors import instances_of
from apps.tenants.models import Membership
from apps.tenants.services import require_role

LONGEST_NAME: Final = 100
MOST_FINDINGS: Final = 50


def add_reader_finding(
    *,
    study: Study,
    name: str,
    user: User,
    membership: Membership | None,
    sop_instance_uid: str = "",
    box: tuple[int, int, int, int] | None = None,
) -> ReaderFinding:
    """Add a finding of the reader to the report that is being written.

    Args:
        name: free text, or the name of one of the models' findings in any language of the portal.
        sop_instance_uid: of the image that shows it; empty where the reader names none.
        box: x, y, width and height in pixels of the stored image, from its upper left corner.

    Raises:
        NotPermittedError: the member is not a radiologist.
        ConflictError: the report is signed and no next version was begun, or there are too many findings.
        InvalidInputError: there is no name, or the box does not lie on the image.
        NotFoundError: the study has no such image.
    """
    require_role(membership, MAY[Action.FINDING])
    text = clean_text(" ".join(name.replace("_", " ").split()), name="finding", longest=LONGEST_NAME)
    if not text:
        raise InvalidInputError(_("Enter the name of the finding."), "finding-name-missing")
    label = label_of_name(text)
    with transaction.atomic():
        study = lock_study(study)
        require_action(state_of(study), Action.FINDING)
        if sop_instance_uid or box is not None:
            _require_on_image(_image(study, sop_instance_uid), box)
        if ReaderFinding.objects.filter(study=study).count() >= MOST_FINDINGS:
            raise ConflictError(
                _("A report has at most %(most)d findings of its readers.") % {"most": MOST_FINDINGS},
                "too-many-findings",
            )
        added = ReaderFinding.objects.create(
            study=study,
            name=finding_name(label, "en") if label else text,
            label=label,
            sop_instance_uid=sop_instance_uid,
            box=list(box) if box is not None else None,
            reader=user,
        )
        record(action=AuditEvent.Action.READER_FINDING_ADDED, by=user_actor(user.pk), object_id=added.pk)
    return added


def remove_reader_finding(*, study: Study, finding_id: UUID, user: User, membership: Membership | None) -> None:
    """Remove a finding of a reader from the report that is being written; signed versions keep theirs.

    Raises:
        NotPermittedError: the member is not a radiologist.
        NotFoundError: the report has no such finding.
        ConflictError: the report is signed and no next version was begun.
    """
    require_role(membership, MAY[Action.FINDING])
    with transaction.atomic():
        study = lock_study(study)
        require_action(state_of(study), Action.FINDING)
        if not ReaderFinding.objects.filter(study=study, pk=finding_id).delete()[0]:
            raise NotFoundError(_("This report has no such finding."), "finding-not-found")
        record(action=AuditEvent.Action.READER_FINDING_REMOVED, by=user_actor(user.pk), object_id=finding_id)


def _image(study: Study, sop_instance_uid: str) -> Instance:
    found = next((each for each in instances_of(study) if each.sop_instance_uid == sop_instance_uid), None)
    if found is None:
        raise NotFoundError(_("This study has no such image."), "image-not-found")
    return found


def _require_on_image(image: Instance, box: tuple[int, int, int, int] | None) -> None:
    if box is None:
        return
    x, y, width, height = box
    rows, columns = image.shape
    if min(x, y) < 0 or min(width, height) < 1 or x + width > columns or y + height > rows:
        raise InvalidInputError(
            _("The box must lie on the image, which has %(columns)d × %(rows)d pixels.")
            % {"columns": columns, "rows": rows},
            "box-outside",
        )
