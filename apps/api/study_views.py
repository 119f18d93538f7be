"""The API's views of studies: the list, one study, its report and its heatmaps."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.base import ReadView
from apps.api.filters import matching_entries, read_query
from apps.api.pagination import page_of
from apps.api.selectors import StudyResult, study_results
from apps.api.serializers import StudyPageSerializer, StudyQuerySerializer, StudySerializer
from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record, record_once
from apps.inference.rendering import heatmap_png
from apps.inference.selectors import get_heatmap
from apps.reading.selectors import studies_in_order
from apps.registry import engine
from apps.reports.responses import report_response
from apps.studies.selectors import get_study

_UID = OpenApiParameter("study_instance_uid", OpenApiTypes.STR, OpenApiParameter.PATH, description="StudyInstanceUID")
_NUMBER = OpenApiParameter("number", OpenApiTypes.INT, OpenApiParameter.PATH, description="1 is the original.")
_LABEL = OpenApiParameter("label", OpenApiTypes.STR, OpenApiParameter.PATH, enum=engine.LABELS)


@dataclass(frozen=True)
class _Page:
    intended_use: str
    next: str | None
    results: list[StudyResult]


class StudyListView(ReadView):
    shows_findings = True

    @extend_schema(
        operation_id="listStudies",
        summary="List and filter studies",
        parameters=[StudyQuerySerializer],
        responses=StudyPageSerializer,
        tags=["Studies"],
    )
    def get(self, request: Request) -> Response:
        query = read_query(request.query_params)
        ids, cursor = page_of(
            matching_entries(query),
            ordering=query["ordering"],
            size=query["page_size"],
            cursor=query.get("cursor"),
        )
        studies = studies_in_order(ids)
        record(
            action=AuditEvent.Action.STUDIES_SEARCHED,
            by=actor_of(request._request),
            amount=len(studies),
            operation="api:studies",
        )
        following = _address_of(request, cursor) if cursor else None
        page = _Page(settings.INTENDED_USE_NOTICE, following, study_results(studies))
        return Response(StudyPageSerializer(page).data)


def _address_of(request: Request, cursor: str) -> str:
    others = [(name, value) for name, values in request.query_params.lists() if name != "cursor" for value in values]
    return f"{request.path}?{urlencode([*others, ('cursor', cursor)])}"


class StudyView(ReadView):
    shows_findings = True

    @extend_schema(
        operation_id="getStudy",
        summary="One study: status, findings, report",
        parameters=[_UID],
        responses=StudySerializer,
        tags=["Studies"],
    )
    def get(self, request: Request, study_instance_uid: str) -> Response:
        study = get_study(study_instance_uid)
        record(
            action=AuditEvent.Action.STUDY_VIEWED,
            by=actor_of(request._request),
            object_id=study.pk,
            operation="api:study",
        )
        return Response(StudySerializer(study_results([study])[0]).data)


class ReportView(ReadView):
    shows_findings = True

    @extend_schema(
        operation_id="getReport",
        summary="The report as PDF: the signed one, or the preliminary one as it stands",
        parameters=[_UID],
        responses={(200, "application/pdf"): OpenApiTypes.BINARY},
        tags=["Studies"],
    )
    def get(self, request: Any, study_instance_uid: str) -> HttpResponse:
        return _pdf(request, study_instance_uid)


class ReportVersionView(ReadView):
    shows_findings = True

    @extend_schema(
        operation_id="getReportVersion",
        summary="One signed version of the report as PDF, for good: 1 is the original",
        parameters=[_UID, _NUMBER],
        responses={(200, "application/pdf"): OpenApiTypes.BINARY},
        tags=["Studies"],
    )
    def get(self, request: Any, study_instance_uid: str, number: str) -> HttpResponse:
        return _pdf(request, study_instance_uid, int(number))


def _pdf(request: Any, study_instance_uid: str, number: int | None = None) -> HttpResponse:
    study, filename = get_study(study_instance_uid), f"{request._request.tenant.slug}-report.pdf"
    return report_response(request._request, study, filename, number=number, inline=True)


class HeatmapView(ReadView):
    shows_findings = True

    @extend_schema(
        operation_id="getHeatmap",
        summary="Where the model looked for one finding: a transparent PNG in the film's proportions",
        parameters=[_UID, _LABEL],
        responses={(200, "image/png"): OpenApiTypes.BINARY},
        tags=["Studies"],
    )
    def get(self, request: Request, study_instance_uid: str, label: str) -> HttpResponse:
        study = get_study(study_instance_uid)
        heatmap = get_heatmap(study=study, label=label)
        record_once(
            action=AuditEvent.Action.STUDY_VIEWED,
            by=actor_of(request._request),
            object_id=study.pk,
            operation="api:heatmap",
        )
        return HttpResponse(heatmap_png(heatmap), content_type="image/png")
