"""Selectors for the result objects of the tenant in force, and for where they go."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, QuerySet
from django.utils.translation import gettext

from apps.core.errors import NotFoundError
from apps.core.work_queue import OPEN_STATES, JobState
from apps.events.commitments import failure_text
from apps.events.deliveries import ENDED_WITHOUT
from apps.events.models import CommitmentRequest, Delivery
from apps.results.models import ResultJob, ResultKind, ResultObject, ResultPolicy
from apps.routing.models import Destination
from apps.studies.models import Instance, Study

_LISTED = 50


def result_policy() -> ResultPolicy:
    """The policy of the tenant in force; the defaults, unsaved, where it set none."""
    return ResultPolicy.objects.first() or ResultPolicy()


@dataclass(frozen=True)
class ListedObject:
    """An object in a study's list; ``is_current``: no later one of its kind is there."""

    row: ResultObject
    is_current: bool


def objects_of(study: Study) -> list[ListedObject]:
    """The objects of a study, the newest first."""
    rows = list(_objects().filter(study=study))
    newest: dict[str, UUID] = {}
    for row in rows:
        newest.setdefault(row.kind, row.pk)
    return [ListedObject(row, newest[row.kind] == row.pk) for row in rows]


def without_results(instances: Sequence[Instance]) -> list[Instance]:
    """The instances that are no objects of our results, which pages list by themselves."""
    uids = [each.sop_instance_uid for each in instances]
    own = set(ResultObject.objects.filter(sop_instance_uid__in=uids).values_list("sop_instance_uid", flat=True))
    return [each for each in instances if each.sop_instance_uid not in own]


def get_object(*, study: Study, object_id: UUID) -> ResultObject:
    """One object of a study.

    Raises:
        NotFoundError: the study has no such object.
    """
    found = _objects().filter(study=study, pk=object_id).first()
    if found is None:
        raise NotFoundError(gettext("This study has no such result object."), "result-object-not-found")
    return found


def newest_of_series(series_instance_uid: str) -> ResultObject | None:
    """The object of a series of results with the highest number; None where there is none."""
    return _objects().filter(series_instance_uid=series_instance_uid).order_by("-number").first()


def ended_without_objects() -> list[ResultJob]:
    """The latest jobs that gave up, the newest first; the first fifty."""
    ended = ResultJob.objects.filter(state__in=[JobState.FAILED, JobState.REJECTED])
    return list(ended.select_related("study").order_by("-id")[:_LISTED])


def open_jobs() -> int:
    """How many studies wait for their objects."""
    return ResultJob.objects.filter(state__in=OPEN_STATES).count()


def _objects() -> "QuerySet[ResultObject]":
    return ResultObject.objects.select_related("report", "job__model_version").order_by("-id")


@dataclass(frozen=True)
class ListedDestination:
    """A destination, with the numbers of its deliveries that wait and of those that were given up.

    ``not_made`` are kinds of objects that it would get, and that are not made of the tenant's results.
    """

    row: Destination
    waiting: int
    failed: int
    not_made: list[str]


def listed_destinations() -> list[ListedDestination]:
    """The destinations of the tenant in force."""
    counts: dict[UUID, dict[bool, int]] = {}
    unfinished = Delivery.objects.exclude(state=JobState.COMPLETE).order_by()
    grouped = unfinished.values_list("destination", "state").annotate(number=Count("pk"))
    for destination, state, number in grouped:
        of_destination = counts.setdefault(destination, {True: 0, False: 0})
        of_destination[state in ENDED_WITHOUT] += number
    made = set(result_policy().kinds)
    return [
        ListedDestination(
            each,
            waiting=counts.get(each.pk, {}).get(False, 0),
            failed=counts.get(each.pk, {}).get(True, 0),
            not_made=[
                kind.label
                for kind in ResultKind
                if each.kind != Destination.Kind.WEBHOOK and kind in each.contents and kind not in made
            ],
        )
        for each in Destination.objects.select_related("peer").order_by("name")
    ]


@dataclass(frozen=True)
class ListedDelivery:
    """A delivery in a destination's list; ``what`` names its content for people.

    ``commitment`` is there where the destination was to be asked for it, with the ``failure`` that it reported.
    """

    row: Delivery
    what: str
    commitment: CommitmentRequest | None = None
    failure: str = ""


def deliveries_to(destination: Destination, *, only_failed: bool = False) -> list[ListedDelivery]:
    """The latest deliveries to a destination, the newest first; the first fifty."""
    rows = Delivery.objects.filter(destination=destination).order_by("-id")
    if only_failed:
        rows = rows.filter(state__in=ENDED_WITHOUT)
    names = {**dict(ResultKind.choices), "test": gettext("Test")}
    listed = list(rows[:_LISTED])
    requests = {each.delivery_id: each for each in CommitmentRequest.objects.filter(delivery__in=listed)}
    return [
        ListedDelivery(row, names.get(row.content, row.content), request, failure_text(request) if request else "")
        for row in listed
        for request in [requests.get(row.pk)]
    ]
