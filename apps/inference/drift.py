"""Drift: each ended week of a version's readings at a tenant, counted once and compared with a reference.

The dispatcher counts. An alarm is an event for webhooks, a notice in the portal and a figure of ``/metrics``.
"""

import datetime
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np
from django.utils import timezone
from numpy.typing import NDArray

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, UnavailableError
from apps.core.work_queue import JobState
from apps.deployment.models import DriftReference, DriftWeek, Recalibration
from apps.deployment.selectors import thresholds_for, version_for
from apps.events.models import ModelEvent
from apps.events.services import publish
from apps.inference.models import Finding, InferenceJob
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import fetch_artifact
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx

logger = logging.getLogger(__name__)
# How far back weeks are counted that were missed, or that came before this was switched on.
WEEKS_BACK = 12
FIRST_WEEKS = 4
FEWEST_FILMS = 200
WEEK = datetime.timedelta(days=7)
_AT_ONCE = 2000
_SYSTEM = Actor(name="dispatcher")
_Source = DriftReference.Source


@dataclass(frozen=True)
class _Counted:
    """The readings of some weeks, and the views of the films that were read."""

    readings: "engine.Readings"
    refused: int
    views: dict[str, int]


def week_of(moment: datetime.datetime) -> datetime.date:
    """The Monday, in UTC, of the week that a moment lies in."""
    day = moment.astimezone(datetime.UTC).date()
    return day - datetime.timedelta(days=day.weekday())


def count_ended_weeks(now: datetime.datetime | None = None) -> int:
    """Count the weeks of each tenant that have ended since the last count; return how many alarms there were."""
    this_week = week_of(now or timezone.now())
    alarms = 0
    for tenant in Tenant.objects.filter(is_active=True):
        last = DriftWeek.objects.filter(for_tenant=tenant).values_list("week", flat=True).first()
        week = this_week - WEEKS_BACK * WEEK if last is None else max(last + WEEK, this_week - WEEKS_BACK * WEEK)
        while week < this_week:
            with tenant_tx(tenant.pk):
                alarms += _count_week(tenant, week, is_latest=week + WEEK == this_week)
            week += WEEK
    return alarms


def reference_for(tenant_id: UUID, version: ModelVersion) -> DriftReference | None:
    """The reference of a tenant's weeks: its own newest one, or else that of the version."""
    rows = DriftReference.objects.filter(model_version=version)
    return rows.filter(for_tenant=tenant_id).first() or rows.filter(for_tenant=None).first()


def current_alarm(tenant_id: UUID) -> DriftWeek | None:
    """The last tested week of the version in service, if it raised an alarm against the reference of today."""
    version = version_for(tenant_id)
    if version is None:
        return None
    weeks = DriftWeek.objects.filter(for_tenant=tenant_id, model_version=version).exclude(figures=[])
    last = weeks.first()
    if last is None or not last.alarms or last.reference != reference_for(tenant_id, version):
        return None
    return last


def count_alarms() -> int:
    """How many pairs of tenant and version were outside the control limits in the last ended week."""
    last = week_of(timezone.now()) - WEEK
    return DriftWeek.objects.filter(week=last).exclude(alarms=[]).count()


def accept_weeks(*, tenant: Tenant, version: ModelVersion, by: Actor, reason: str) -> DriftReference:
    """Make the last `FIRST_WEEKS` counted weeks the reference from now on. The tenant must be in force.

    Raises:
        ConflictError: fewer than `FEWEST_FILMS` films were read in them.
    """
    weeks = list(DriftWeek.objects.filter(for_tenant=tenant, model_version=version)[:FIRST_WEEKS])
    if sum(each.read for each in weeks) < FEWEST_FILMS:
        raise ConflictError(
            f"The last {FIRST_WEEKS} weeks have {sum(each.read for each in weeks)} films of different patients, and "
            f"{FEWEST_FILMS} are needed for a reference.",
            "too-few-films",
        )
    made = _make_reference(tenant, version, weeks, _Source.ACCEPTED, by, reason)
    record(action=AuditEvent.Action.DRIFT_ACCEPTED, by=by, object_id=made.pk)
    return made


def _count_week(tenant: Tenant, week: datetime.date, *, is_latest: bool) -> int:
    versions = list(ModelVersion.objects.filter(pk__in=_jobs(week, week).values("model_version")))
    if not versions and is_latest and (serving := version_for(tenant.pk)):
        # A row without readings: the next count must not search this week again.
        versions = [serving]
    return sum(_count_version(tenant, version, week) for version in versions)


def _count_version(tenant: Tenant, version: ModelVersion, week: datetime.date) -> int:
    counted = _counted(version, week, week)
    points = thresholds_for(version, tenant.pk)
    reference = reference_for(tenant.pk, version) or _reference_of_version(version)
    figures = (
        engine.figures_of(counted.readings, engine.Readings.of_reference(reference.data), points) if reference else []
    )
    alarms = engine.alarms_of(figures)
    values = counted.readings.probabilities
    DriftWeek.objects.create(
        for_tenant=tenant,
        model_version=version,
        week=week,
        read=counted.readings.films,
        refused=counted.refused,
        views=counted.views,
        means={label: float(each.mean()) for label, each in values.items() if len(each)},
        flagged={
            label: float((each >= point).mean())
            for label, each in values.items()
            if len(each) and (point := points.get(label)) is not None
        },
        reference=reference,
        figures=[each.to_dict() for each in figures],
        alarms=[each.to_dict() for each in alarms],
    )
    if alarms:
        _publish(tenant, version, week, alarms)
    if reference is None:
        _make_first_reference(tenant, version)
    return len(alarms)


def _publish(tenant: Tenant, version: ModelVersion, week: datetime.date, alarms: "list[engine.Figure]") -> None:
    logger.warning("Drift of %s: %d figures of the week of %s are outside their limits.", version, len(alarms), week)
    shown = [{name: value for name, value in each.to_dict().items() if name != "p_value"} for each in alarms]
    publish(
        kind=ModelEvent.Type.DRIFT,
        version_id=version.pk,
        tenant=tenant,
        data={**version.identity, "week": week.isoformat(), "alarms": shown},
    )


def _make_first_reference(tenant: Tenant, version: ModelVersion) -> None:
    """Where the version has no reference, the first weeks become one, as soon as they hold enough films."""
    weeks = list(DriftWeek.objects.filter(for_tenant=tenant, model_version=version, read__gt=0))
    if len(weeks) >= FIRST_WEEKS and sum(each.read for each in weeks) >= FEWEST_FILMS:
        _make_reference(tenant, version, weeks, _Source.FIRST_WEEKS, _SYSTEM, "")


def _make_reference(
    tenant: Tenant, version: ModelVersion, weeks: Iterable[DriftWeek], source: str, by: Actor, reason: str
) -> DriftReference:
    mondays = [each.week for each in weeks]
    found = _counted(version, min(mondays), max(mondays)).readings
    return DriftReference.objects.create(
        for_tenant=tenant,
        model_version=version,
        source=source,
        films=found.films,
        first_week=min(mondays),
        last_week=max(mondays),
        data=found.as_reference(),
        reason=reason,
        actor=by.name,
    )


def _reference_of_version(version: ModelVersion) -> DriftReference | None:
    """The outputs on held-out films that came with the version, read once; None where it has none."""
    try:
        found = engine.held_out_readings(fetch_artifact(version))
    except (OSError, ValueError, UnavailableError, engine.ArtifactInvalid) as error:
        logger.warning("The reference of %s cannot be read (%s); the next week tries again.", version, error)
        return None
    if found is None:
        return None
    return DriftReference.objects.create(
        for_tenant=None,
        model_version=version,
        source=_Source.HELD_OUT,
        films=found.films,
        data=found.as_reference(),
        actor=_SYSTEM.name,
    )


def _jobs(first: datetime.date, last: datetime.date) -> Any:
    start = datetime.datetime.combine(first, datetime.time(), datetime.UTC)
    end = datetime.datetime.combine(last + WEEK, datetime.time(), datetime.UTC)
    ended = InferenceJob.objects.filter(state__in=[JobState.COMPLETE, JobState.REJECTED], study__withdrawn=None)
    return ended.filter(finished__gte=start, finished__lt=end)


def _counted(version: ModelVersion, first: datetime.date, last: datetime.date) -> _Counted:
    """The last reading of each patient, from the week of one Monday to that of another."""
    jobs = _jobs(first, last).filter(model_version=version).order_by("finished")
    rows = jobs.values_list("study__patient_id", "pk", "state", "instance__view_position", "recalibration_id")
    newest = {patient: row for patient, *row in rows}
    complete = {pk: recalibration for pk, state, _, recalibration in newest.values() if state == JobState.COMPLETE}
    views = Counter(view.upper() for _, state, view, _ in newest.values() if state == JobState.COMPLETE and view)
    refused = len(newest) - len(complete)
    known = views["AP"] + views["PA"]
    readings = engine.Readings(
        films=len(complete),
        probabilities=_probabilities(version, complete),
        refused=(refused, len(newest)),
        ap=(views["AP"], known) if known else None,
    )
    return _Counted(readings, refused, dict(views))


def _probabilities(version: ModelVersion, complete: Mapping[UUID, UUID | None]) -> "dict[str, NDArray[np.float64]]":
    """The version's own probabilities on these jobs, by label."""
    used = Recalibration.objects.in_bulk({each for each in complete.values() if each is not None})
    found: dict[str, list[float]] = {label: [] for label in version.manifest["labels"]}
    for some in _batched(complete, _AT_ONCE):
        rows = Finding.objects.filter(job__in=some).values_list("job_id", "label", "probability").order_by()
        for job_id, label, probability in rows.iterator():
            recalibration = used.get(complete[job_id])
            found[label].append(recalibration.of_version(label, probability) if recalibration else probability)
    return {label: np.array(values, dtype=np.float64) for label, values in found.items()}


def _batched(ids: Iterable[UUID], size: int) -> Iterator[list[UUID]]:
    """Lists of at most so many ids."""
    rest = iter(ids)
    while some := list(islice(rest, size)):
        yield some
