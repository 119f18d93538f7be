"""The patient's earlier studies beside the present one: their images, and each finding's probability over time."""

from dataclasses import dataclass
from uuid import UUID

from apps.accounts.models import User
from apps.core.work_queue import JobState
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import latest_jobs
from apps.reports.selectors import hides_findings
from apps.studies.models import Instance, Study
from apps.studies.selectors import earlier_studies_of, instances_of
from apps.tenants.models import Membership
from apps.tenants.services import sees_findings

_MOST = 8


@dataclass(frozen=True)
class EarlierStudy:
    """An earlier study. ``number`` is that of the image to compare with: the one that the AI read, or the first."""

    study: Study
    image: Instance | None
    number: int


@dataclass(frozen=True)
class TimelineRow:
    """A finding in each study of the timeline; None where the version of then did not score it."""

    label: str
    findings: list[Finding | None]


@dataclass(frozen=True)
class Timeline:
    """Completed readings of the patient, the oldest first; the last one is that of the present study."""

    studies: list[Study]
    versions: list[str]
    rows: list[TimelineRow]

    @property
    def has_several_versions(self) -> bool:
        return len(set(self.versions)) > 1


@dataclass(frozen=True)
class Priors:
    earlier: list[EarlierStudy]
    timeline: Timeline | None


def priors_of(study: Study, membership: Membership, *, shows_findings: bool) -> Priors:
    """What the study page shows of the patient's past.

    Args:
        shows_findings: whether the reader sees the findings of the present study. If not, the timeline stays hidden
            too: what the AI said earlier would anchor a blind reading.
    """
    studies = earlier_studies_of(study, _MOST)
    jobs = latest_jobs([study.pk, *(each.pk for each in studies)])
    shows = shows_findings and sees_findings(membership)
    return Priors(
        earlier=[_earlier(each, jobs.get(each.pk)) for each in studies],
        timeline=_timeline([*reversed(studies), study], jobs, membership.user) if shows and studies else None,
    )


def _earlier(study: Study, job: InferenceJob | None) -> EarlierStudy:
    images = instances_of(study)
    read = job.instance if job is not None else None
    number = next((at for at, each in enumerate(images, start=1) if each == read), 1)
    return EarlierStudy(study, images[number - 1] if images else None, number)


def _timeline(studies: list[Study], jobs: dict[UUID, InferenceJob], user: User) -> Timeline | None:
    read = [
        (each, jobs[each.pk])
        for each in studies
        if each.pk in jobs and jobs[each.pk].state == JobState.COMPLETE and not hides_findings(each, user)
    ]
    if len(read) < 2:
        return None
    by_study = [{finding.label: finding for finding in job.findings.all()} for _, job in read]
    order = sorted(by_study[-1].values(), key=lambda finding: (not finding.positive, -finding.probability))
    labels = dict.fromkeys([finding.label for finding in order] + [label for found in by_study for label in found])
    rows = [TimelineRow(label, [found.get(label) for found in by_study]) for label in labels]
    return Timeline([each for each, _ in read], [str(job.model_version) for _, job in read], rows)
