"""Model versions: which there are, and everything about one that is not its weights."""

from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.base import ReadView
from apps.api.serializers import ModelListSerializer, ModelSerializer
from apps.core.errors import NotFoundError
from apps.registry.models import Deployment, ModelVersion

_DESCRIBED = ("labels", "input_space", "grid", "thresholds", "threshold_notes", "calibration", "metrics", "card")
# What an array for /predict looks like, whatever the version.
_TENSOR = {"channel_order": "grey, grey, grey", "layout": "NCHW", "dtype": "float32"}
_LARGEST_NUMBER = 2**31 - 1


class ModelListView(ReadView):
    @extend_schema(
        operation_id="listModels", summary="The model versions", responses=ModelListSerializer, tags=["Models"]
    )
    def get(self, request: Request) -> Response:
        in_service = _ids_in_service()
        results = [_summary(version, in_service) for version in ModelVersion.objects.all()]
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
        known = int(number) <= _LARGEST_NUMBER
        version = ModelVersion.objects.filter(name=name, number=int(number)).first() if known else None
        if version is None:
            raise NotFoundError("There is no such model version; /api/v1/models/ lists them.", "model-not-found")
        described = {part: version.manifest[part] for part in _DESCRIBED}
        described["data"] = version.data
        described["input_space"] = described["input_space"] | _TENSOR
        whole = _summary(version, _ids_in_service()) | described | {"intended_use": settings.INTENDED_USE_NOTICE}
        return Response(ModelSerializer(whole).data)


def _ids_in_service() -> set[Any]:
    return set(Deployment.objects.values_list("model_version_id", flat=True))


def _summary(version: ModelVersion, in_service: set[Any]) -> dict[str, Any]:
    return {
        "model_version": str(version),
        "name": version.name,
        "number": version.number,
        "architecture": version.architecture,
        "sha256": version.sha256,
        "registered": version.registered,
        "in_service": version.pk in in_service,
        "url": reverse("api:model", kwargs={"name": version.name, "number": version.number}),
    }
