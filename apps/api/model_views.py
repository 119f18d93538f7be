"""The API's views of model versions: a list, and one version's description."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.base import ReadView
from apps.api.serializers import ModelListSerializer, ModelSerializer
from apps.deployment.selectors import nameable_versions, points_for, recalibration_for, version_for
from apps.registry.models import ModelVersion
from apps.registry.services import find_version
from apps.tenants.scope import current_tenant_id

_MANIFEST_FIELDS = ("labels", "input_space", "grid", "threshold_notes", "calibration", "metrics", "card")
# The format of an array for /predict, which is the same for all versions.
_TENSOR = {"channel_order": "grey, grey, grey", "layout": "NCHW", "dtype": "float32"}


class ModelListView(ReadView):
    @extend_schema(
        operation_id="listModels",
        summary="The model versions that a request may select",
        responses=ModelListSerializer,
        tags=["Models"],
    )
    def get(self, request: Request) -> Response:
        in_service_id = _in_service_id()
        results = [_summary(version, in_service_id) for version in nameable_versions(current_tenant_id())]
        return Response(ModelListSerializer({"intended_use": settings.INTENDED_USE_NOTICE, "results": results}).data)


class ModelView(ReadView):
    @extend_schema(
        operation_id="getModel",
        summary="One model version: input space, labels, operating points, figures, card",
        parameters=[
            OpenApiParameter("name", OpenApiTypes.STR, OpenApiParameter.PATH),
            OpenApiParameter("number", OpenApiTypes.INT, OpenApiParameter.PATH),
        ],
        responses=ModelSerializer,
        tags=["Models"],
    )
    def get(self, request: Request, name: str, number: str) -> Response:
        version = find_version(f"{name}:{number}", among=nameable_versions(current_tenant_id()))
        described = {name: version.manifest[name] for name in _MANIFEST_FIELDS}
        described |= _scale(version, current_tenant_id())
        described["data"] = version.data
        described["input_space"] = described["input_space"] | _TENSOR
        response = _summary(version, _in_service_id()) | described | {"intended_use": settings.INTENDED_USE_NOTICE}
        return Response(ModelSerializer(response).data)


def _scale(version: ModelVersion, tenant_id: UUID) -> dict[str, Any]:
    """The calibration and the thresholds of the probabilities that this tenant gets."""
    points, recalibration = points_for(version, tenant_id), recalibration_for(version, tenant_id)
    if recalibration is None:
        return {"thresholds": points}
    moved = {
        label: point and {**point, "value": recalibration.shown(label, point["value"])}
        for label, point in points.items()
    }
    return {"thresholds": moved, "calibration": recalibration.calibration(version.manifest["calibration"])}


def _in_service_id() -> UUID | None:
    """The id of the version in service for the caller's tenant, or None."""
    version = version_for(current_tenant_id())
    return version.pk if version else None


def _summary(version: ModelVersion, in_service_id: UUID | None) -> dict[str, Any]:
    return {
        "model_version": str(version),
        "name": version.name,
        "number": version.number,
        "architecture": version.architecture,
        "sha256": version.sha256,
        "registered": version.registered,
        "in_service": version.pk == in_service_id,
        "url": reverse("api:model", kwargs={"name": version.name, "number": version.number}),
    }
