"""Selectors for how the tenant in force reads: its policy, its readers, and a person's views of the worklist."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, QuerySet, Value
from django.db.models.functions import Coalesce

from apps.accounts.models import User
from apps.inference.selectors import RECEIVED
from apps.reading.models import ReadingPolicy, SavedView, TextBlock
from apps.studies.models import Study
from apps.tenants.models import Membership, Role


def reading_policy() -> ReadingPolicy:
    """The policy of the tenant in force; the defaults, unsaved, where it set none."""
    return ReadingPolicy.objects.first() or ReadingPolicy()


def texts_of(owner: User | None) -> "QuerySet[TextBlock]":
    """A reader's own texts, or those of the hospital."""
    return TextBlock.objects.filter(owner=owner)


def texts_for(user: User) -> list[TextBlock]:
    """The texts that a reader can insert, by name; an own one hides the hospital's of the same name."""
    found = {block.name: block for block in TextBlock.objects.filter(owner=None)}
    found |= {block.name: block for block in TextBlock.objects.filter(owner=user)}
    return [found[name] for name in sorted(found)]


def readers() -> "QuerySet[User]":
    """The radiologists of the tenant in force whose account is active, by name."""
    members = Membership.objects.filter(role=Role.RADIOLOGIST, user=OuterRef("pk"))
    return User.objects.filter(Exists(members), is_active=True).order_by("full_name", "email")


def saved_views(user_id: UUID) -> "QuerySet[SavedView]":
    """A person's views of the worklist, by name."""
    return SavedView.objects.filter(user=user_id)


def listed_studies() -> "QuerySet[Any]":
    """Studies that are not withdrawn, newest first, for lists.

    Each has ``demographics_conflict``, and ``status`` and ``reason`` of its latest job.
    """
    return (
        Study.objects.filter(entries__is_withdrawn=False)
        .select_related("patient")
        .annotate(
            demographics_conflict=F("entries__in_conflict"),
            status=Coalesce(F("entries__job__state"), Value(RECEIVED)),
            reason=F("entries__job__reason"),
        )
        .order_by("-received", "-id")
    )


def studies_in_order(ids: Sequence[UUID]) -> list[Any]:
    """Studies as of ``listed_studies``, in the order of their ids; one that was withdrawn meanwhile is left out."""
    found = listed_studies().in_bulk(ids)
    return [found[pk] for pk in ids if pk in found]
