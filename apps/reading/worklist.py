"""Services for the worklist: assignment, priority, what a person has opened, and saved views."""

from collections.abc import Collection
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import InvalidInputError, NotFoundError
from apps.core.text import clean_text
from apps.inference.models import Priority
from apps.inference.requests import request_inference
from apps.reading.models import WAITING, OpenedStudy, SavedView, WorklistEntry
from apps.reading.selectors import readers, saved_views
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role

LONGEST_NAME = 60
MOST_VIEWS = 30


def assign_studies(*, study_ids: Collection[UUID], to: UUID | None, by: Actor, membership: Membership | None) -> int:
    """Assign studies to a radiologist of the tenant in force, or to none; return how many there were.

    Raises:
        NotPermittedError: the member is not a radiologist.
        NotFoundError: the tenant has no such radiologist.
    """
    require_role(membership, Role.RADIOLOGIST)
    if to is not None and not readers().filter(pk=to).exists():
        raise NotFoundError(_("There is no such radiologist in this hospital."), "reader-not-found")
    return _change(study_ids, AuditEvent.Action.STUDY_ASSIGNED, by, assigned_to=to)


def set_priority(*, study_ids: Collection[UUID], priority: Priority, by: Actor, membership: Membership | None) -> int:
    """Set the priority of studies; return how many there were. Those that wait for the AI move up in its queue.

    Raises:
        NotPermittedError: an administrator.
    """
    require_role(membership, Role.RADIOLOGIST, Role.TECHNOLOGIST)
    with transaction.atomic():
        changed = _change(study_ids, AuditEvent.Action.STUDY_PRIORITY_SET, by, chosen_priority=priority)
        waiting = WorklistEntry.objects.filter(study__in=study_ids, status=WAITING, job__isnull=False)
        for study_id in waiting.order_by("study_id").values_list("study_id", flat=True):
            request_inference(study_id=study_id, priority=priority)
    return changed


def _change(study_ids: Collection[UUID], action: AuditEvent.Action, by: Actor, **values: object) -> int:
    """Change the entries that there are; an unknown study, or one of another tenant, is left out."""
    with transaction.atomic():
        entries = WorklistEntry.objects.filter(study__in=study_ids, is_withdrawn=False)
        found = list(entries.order_by("study_id").select_for_update(no_key=True).values_list("study_id", flat=True))
        WorklistEntry.objects.filter(study__in=found).update(**values, changed=Now())
        for study_id in found:
            record(action=action, by=by, object_id=study_id)
    return len(found)


def note_opened(*, study_id: UUID, user_id: UUID) -> None:
    """Record that a person has opened a study, so that their worklist no longer marks it as unread."""
    OpenedStudy.objects.update_or_create(study_id=study_id, user_id=user_id)


def mark_unread(*, study_ids: Collection[UUID], user_id: UUID) -> int:
    """Mark studies as unread for one person; return how many were marked as read."""
    marks = OpenedStudy.objects.filter(study__in=study_ids, user=user_id)
    return marks.delete()[0]


def save_view(*, user: User, name: str, address: str) -> SavedView:
    """Save a person's filters and order under a name; a view of the same name is replaced.

    Raises:
        InvalidInputError: the name is empty or too long, or there are too many views.
    """
    name = clean_text(name.replace("\n", " "), name="name", longest=LONGEST_NAME)
    if not name:
        raise InvalidInputError(_("Give the view a name."), "view-name-missing")
    if saved_views(user.pk).exclude(name=name).count() >= MOST_VIEWS:
        raise InvalidInputError(_("You have as many views as can be kept. Remove one first."), "too-many-views")
    view, _created = SavedView.objects.update_or_create(user=user, name=name, defaults={"address": address})
    return view


def remove_view(*, user: User, view_id: UUID) -> None:
    """Remove one of a person's views.

    Raises:
        NotFoundError: this person has no such view.
    """
    if not saved_views(user.pk).filter(pk=view_id).delete()[0]:
        raise NotFoundError(_("You have no such view."), "view-not-found")
