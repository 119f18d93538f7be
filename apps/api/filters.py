"""Filters studies by query parameters. An unknown parameter is refused, because a typo must not widen a list."""

from collections.abc import Collection
from typing import Any

from django.db.models import BooleanField, Case, Exists, OuterRef, Q, QuerySet, When
from django.http import QueryDict
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import Serializer

from apps.api.serializers import StudyQuerySerializer
from apps.core.work_queue import OPEN_STATES, JobState
from apps.inference.models import InferenceJob
from apps.inference.selectors import RECEIVED
from apps.reading.models import UNSIGNED, WAITING, WorklistEntry
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.reports.models import ReportDraft, ReportStatus
from apps.studies.models import Series
from apps.studies.query.attributes import ATTRIBUTES
from apps.studies.query.matching import condition

_REPEATABLE = {"status"}
_FEW = 1000
# The parameters that are one column's condition.
_COLUMNS = {
    "study_instance_uid": "study__study_instance_uid",
    "accession_number": "study__accession_number",
    "patient_id": "study__patient__patient_id",
    "issuer": "study__patient__issuer_of_patient_id",
    "birth_date": "study__patient_birth_date",
    "demographics_conflict": "in_conflict",
    "study_date_from": "study_date__gte",
    "study_date_to": "study_date__lte",
}


def read_query(given: QueryDict, serializer: type[Serializer[Any]] = StudyQuerySerializer) -> dict[str, Any]:
    """Validate the query parameters of a list of studies, or of another serializer.

    Raises:
        ValidationError: names each parameter that is unknown, given twice or out of range.
    """
    known = serializer().fields
    wrong = {
        name: [f"There is no such parameter. There are: {', '.join(known)}."] for name in given if name not in known
    }
    wrong |= {
        name: ["Give this parameter once."]
        for name in given
        if name in known and name not in _REPEATABLE and len(given.getlist(name)) > 1
    }
    if wrong:
        raise ValidationError(wrong)
    query = serializer(data={name: given.getlist(name) if name in _REPEATABLE else given[name] for name in given})
    query.is_valid(raise_exception=True)
    return query.validated_data


def matching_entries(query: dict[str, Any]) -> "QuerySet[WorklistEntry]":
    """The rows for lists of the studies of the tenant in force that match a query, in no particular order.

    Raises:
        InvalidInputError: the name has too many wildcards.
    """
    entries = WorklistEntry.objects.filter(is_withdrawn=False)
    if query.get("status"):
        entries = entries.filter(_with_status(query["status"]))
    if "report_status" in query:
        entries = entries.filter(_with_report(query["report_status"]))
    for name, column in _COLUMNS.items():
        if name in query:
            entries = entries.filter(**{column: query[name]})
    if "study_date" in query:
        first, last = query["study_date"]
        entries = entries.filter(Q(study_date__gte=first) if first else Q(), Q(study_date__lte=last) if last else Q())
    if "patient_name" in query:
        entries = entries.filter(condition(ATTRIBUTES["PatientName"], query["patient_name"], "study__patient_name"))
    if "modality" in query:
        entries = entries.filter(_with_modality(query["modality"]))
    if "model_version" in query:
        name, _, number = query["model_version"].rpartition(":")
        version = ModelVersion.objects.filter(name=name, number=int(number)).first()
        read = InferenceJob.objects.filter(study=OuterRef("study"), state=JobState.COMPLETE, model_version=version)
        entries = entries.filter(Exists(read)) if version is not None else entries.none()
    if {"label", "positive", "min_probability"} & query.keys():
        entries = entries.filter(_with_finding(query))
    return entries


def _with_status(statuses: Collection[str]) -> Q:
    """The rows for lists do not tell open jobs from each other, because a claim does not change them."""
    wanted = Q(status__in=[status for status in statuses if status not in (RECEIVED, *OPEN_STATES)])
    open_states = [status for status in statuses if status in OPEN_STATES]
    if open_states:
        wanted |= Q(status=WAITING, job__state__in=open_states)
    return wanted | Q(status=WAITING, job=None) if RECEIVED in statuses else wanted


def _with_report(status: str) -> Q:
    """The status is that of the signed report, or of a draft, not on an earlier job, where none is signed."""
    if status != ReportStatus.PRELIMINARY:
        return Q(report_status=status)
    current = Q(job=OuterRef("job")) | Q(job__isnull=True)
    return UNSIGNED & Q(Exists(ReportDraft.objects.filter(current, study=OuterRef("study"))))


def _with_modality(modality: str) -> Q:
    """A series of the study has the modality.

    PostgreSQL knows no figures of a single tenant. Where few studies match, they are read first; where many match, the
    list is read in its order until the page is full, which CASE makes the only way.
    """
    series = Series.objects.filter(modality=modality)
    few = list(series.values_list("study", flat=True)[: _FEW + 1])
    if len(few) <= _FEW:
        return Q(study__in=few)
    return Q(
        Case(
            When(Exists(series.filter(study=OuterRef("study"))), then=True), default=False, output_field=BooleanField()
        )
    )


def _with_finding(query: dict[str, Any]) -> Q:
    """Findings of the latest job; studies whose latest job is not complete never match."""
    label, positive, least = query.get("label"), query.get("positive"), query.get("min_probability")
    complete = Q(status=JobState.COMPLETE)
    if label is None and positive is False:
        complete, positive = complete & Q(flagged=[]), None
    elif positive is None and least is None:
        positive = True
    if label is None and least is None:
        return complete & ~Q(flagged=[]) if positive else complete
    found = Q()
    for place, each in enumerate(engine.LABELS):
        if label in (None, each):
            found |= _finding(place, each, positive, least)
    return complete & found


def _finding(place: int, label: str, positive: bool | None, least: float | None) -> Q:
    """The condition that a study has this finding, positive or negative, with at least a probability."""
    wanted = Q(**{f"probabilities__{place}__gte": least}) if least is not None else Q()
    if positive is None:
        return wanted
    if positive:
        return wanted & Q(flagged__contains=[label])
    return wanted & ~Q(flagged__contains=[label]) & Q(**{f"probabilities__{place}__isnull": False})
