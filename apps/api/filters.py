"""Filters studies by query parameters. An unknown parameter is refused, because a typo must not widen a list."""

from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.http import QueryDict
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import Serializer

from apps.api.serializers import StudyQuerySerializer
from apps.core.work_queue import JobState
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import studies_with_status
from apps.reports.status import with_report_state
from apps.studies.models import Study

_REPEATABLE = {"status"}


def read_query(given: QueryDict, serializer: type[Serializer[Any]] = StudyQuerySerializer) -> dict[str, Any]:
    """Validate the query parameters of a list of studies, or of another serializer.

    Raises:
        ValidationError: names each parameter that is unknown, given twice or out of range.
    """
    known = serializer().fields
    wrong = {name: ["There is no such parameter."] for name in given if name not in known}
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


def matching_studies(query: dict[str, Any]) -> "QuerySet[Study]":
    """The studies of the tenant in force that match a query, in no particular order."""
    studies: QuerySet[Any] = studies_with_status()
    if query.get("status"):
        studies = studies.filter(status__in=query["status"])
    if "study_instance_uid" in query:
        studies = studies.filter(study_instance_uid=query["study_instance_uid"])
    if "report_status" in query:
        studies = with_report_state(studies).filter(report_status=query["report_status"])
    if "accession_number" in query:
        studies = studies.filter(accession_number=query["accession_number"])
    if "patient_id" in query:
        studies = studies.filter(patient__patient_id=query["patient_id"])
    if "demographics_conflict" in query:
        studies = studies.filter(demographics_conflict=query["demographics_conflict"])
    if "study_date_from" in query:
        studies = studies.filter(study_date__gte=query["study_date_from"])
    if "study_date_to" in query:
        studies = studies.filter(study_date__lte=query["study_date_to"])
    if "model_version" in query:
        name, _, number = query["model_version"].rpartition(":")
        read = InferenceJob.objects.filter(study=OuterRef("pk"), state=JobState.COMPLETE)
        studies = studies.filter(Exists(read.filter(model_version__name=name, model_version__number=int(number))))
    if {"label", "positive", "min_probability"} & query.keys():
        studies = _with_finding(studies, query)
    return studies


def _with_finding(studies: "QuerySet[Any]", query: dict[str, Any]) -> "QuerySet[Any]":
    """Filter by findings of the latest job; studies whose latest job is not complete never match."""
    latest = InferenceJob.objects.filter(study=OuterRef("pk")).order_by("-id").values("id")[:1]
    of_latest = Finding.objects.filter(job_id=OuterRef("latest_job_id"))
    studies = studies.annotate(latest_job_id=Subquery(latest)).filter(status=JobState.COMPLETE)
    label = query.get("label")
    wanted = Q(label=label) if label else Q()
    if "min_probability" in query:
        wanted &= Q(probability__gte=query["min_probability"])
    positive = query.get("positive")
    if positive is None and "min_probability" not in query:
        positive = True
    if positive is False and not label:
        studies = studies.exclude(Exists(of_latest.filter(positive=True)))
    elif positive is not None:
        wanted &= Q(positive=positive)
    return studies.filter(Exists(of_latest.filter(wanted)))
