"""Collects what the resources say of several studies, with a fixed number of queries."""

import zoneinfo
from collections.abc import Sequence
from uuid import UUID

from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from apps.core.errors import NotFoundError
from apps.core.work_queue import JobState
from apps.fhir.resources.imaging_study import SeriesContent
from apps.fhir.resources.results import StudyResult
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import latest_jobs
from apps.reading.selectors import reading_policy
from apps.reports.models import Report
from apps.reports.status import ReportState, report_states
from apps.studies.models import Study
from apps.studies.selectors import get_study_by_id, in_conflict, visible_instances
from apps.tenants.models import Tenant
from apps.tenants.scope import current_tenant_id


def parse_id(text: str, kind: str) -> UUID:
    """The primary key in the id of a resource.

    Raises:
        NotFoundError: it is none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise NotFoundError(f"There is no {kind} with this id.", "not-found") from None


def get_study(text: str, kind: str) -> Study:
    """The study of a resource's id.

    Raises:
        NotFoundError: the tenant in force has no such study.
        WithdrawnError: it was withdrawn.
    """
    return get_study_by_id(parse_id(text, kind))


def studies() -> "QuerySet[Study]":
    """The studies of the tenant in force that were not withdrawn."""
    found = Study.objects.filter(withdrawn__isnull=True).select_related("patient")
    return found.annotate(demographics_conflict=in_conflict())


def findings() -> "QuerySet[Finding]":
    """The findings that a report is about: those of the signed report's reading, else of the latest one."""
    signed = Report.objects.filter(study=OuterRef("job__study")).order_by("-number")
    is_current = Q(job=F("job__study__entries__job"), job__study__entries__report_status="")
    is_reported = is_current | Q(job=Subquery(signed.values("job")[:1]))
    shown = Q(job__state=JobState.COMPLETE, job__study__entries__is_withdrawn=False)
    return Finding.objects.filter(shown & is_reported)


def hospital_zone() -> zoneinfo.ZoneInfo:
    """The time zone of the tenant in force."""
    return zoneinfo.ZoneInfo(reading_policy().time_zone)


def series_of(found: Sequence[Study]) -> dict[UUID, list[SeriesContent]]:
    """The series of studies with the instances that other systems may get; by study, in the order of arrival."""
    rows = visible_instances().filter(series__study__in=[study.pk for study in found]).select_related("series")
    series: dict[UUID, SeriesContent] = {}
    for instance in rows.order_by("received", "id"):
        series.setdefault(instance.series_id, SeriesContent(instance.series)).instances.append(instance)
    by_study: dict[UUID, list[SeriesContent]] = {study.pk: [] for study in found}
    for content in series.values():
        by_study[content.series.study_id].append(content)
    return by_study


def results_of(found: Sequence[Study]) -> list[StudyResult]:
    """The reports of studies, in their order."""
    ids = [study.pk for study in found]
    jobs, signed = latest_jobs(ids), _signed_reports(ids)
    states = report_states(ids, [job.pk for job in jobs.values()])
    zone, hospital = hospital_zone(), Tenant.objects.get(pk=current_tenant_id()).name
    return [
        StudyResult(
            study=study,
            report=signed.get(study.pk),
            has_draft=study.pk not in signed and states.get(study.pk, ReportState()).status is not None,
            job=_reading(signed.get(study.pk), jobs.get(study.pk)),
            zone=zone,
            hospital=hospital,
        )
        for study in found
    ]


def _reading(report: Report | None, latest: InferenceJob | None) -> InferenceJob | None:
    return latest if report is None else report.job


def _signed_reports(study_ids: Sequence[UUID]) -> dict[UUID, Report]:
    """The signed report in force of each study that has one."""
    signed = Report.objects.filter(study_id__in=study_ids).order_by("study_id", "-number").distinct("study_id")
    with_related = signed.select_related("signed_by", "amends", "job__model_version")
    # The manifest of a version is large and not needed here.
    rows = with_related.defer("job__model_version__manifest").prefetch_related("job__findings")
    return {report.study_id: report for report in rows}
