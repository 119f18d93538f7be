"""POST /predict: images in, findings out, within a bound of time, and stored nowhere."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.base import ApiView
from apps.api.filters import read_query
from apps.api.predict_bodies import FILES, FORM, NPY, kind_of, receive_files, receive_tensor
from apps.api.serializers import PredictionSerializer, PredictQuerySerializer
from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import InvalidInputError, TooLargeError, UnavailableError
from apps.core.metrics import PREDICTIONS
from apps.deployment.selectors import thresholds_for
from apps.inference.direct import DirectReading, prediction_json, read_files, read_images
from apps.inference.rendering import sandbox
from apps.inference.serving import Answering, RequestedVersion, predict_limits, requested_version
from apps.inference.tensors import read_tensor
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.studies.spool import open_spool
from apps.studies.uploads import announced_length
from apps.tenants.models import ApiScope
from apps.tenants.scope import tenant_tx

# Few at a time: the decoders are those of the pages as well.
DECODED_AHEAD = 4
_FORM_SCHEMA = {
    "type": "object",
    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    "required": ["files"],
}
"""Documented as `files`; every field that carries a file is taken."""

_DESCRIPTION = """
One image as `application/dicom`, `image/png` or `image/jpeg`, or several as files of a `multipart/form-data` form under
any field's name; what an image is, its bytes decide. Or images that you have preprocessed, as `application/x-npy`: a
NumPy array file, little-endian float32 in C order, N × 3 × size × size in the version's own input space, which
`GET /api/v1/models/{name}/{number}/` describes; it may be sent with `Content-Encoding: gzip`.

The answer has one entry for each image, in their order. An image that the gate refuses is a result: `gate.accepted` is
false, `gate.reason` names why, and there are no findings. So is one among several that cannot be read. Where none can
be read, the answer is a problem document with the first one's reason.

Nothing is stored but a line in the audit trail: who asked, for how many images, of which version. Too many requests at
once are answered with 429 (yours) or 503 (everybody's) and `Retry-After`; so is a version that is being loaded.
"""


class PredictView(ApiView):
    required_scope = ApiScope.PREDICT
    shows_findings = True
    parser_classes = ()
    http_method_names = ["post", "options"]  # noqa: RUF012

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Request:
        # The check against forgery looks for its token in a form first, and would read the whole body for it.
        request._post, request._files = QueryDict(), MultiValueDict()
        return super().initialize_request(request, *args, **kwargs)

    @extend_schema(
        operation_id="predict",
        summary="Read images at once; nothing is stored",
        description=_DESCRIPTION,
        parameters=[PredictQuerySerializer],
        request={**dict.fromkeys((*FILES, NPY), OpenApiTypes.BINARY), FORM: _FORM_SCHEMA},
        responses={200: PredictionSerializer(many=True)},
        tags=["Predict"],
    )
    def post(self, request: Request) -> Response:
        raw: Any = request._request
        query = read_query(request.query_params, PredictQuerySerializer)
        kind = kind_of(raw)
        with predict_limits().pending(raw.tenant.id):
            wish = requested_version(query.get("model_version"), raw.tenant.id)
            if kind == NPY:
                readings, (version, predictor) = _read_tensor(receive_tensor(raw), wish, query["heatmaps"])
            else:
                with open_spool(announced_length(raw) or 0, durable=False) as spool:
                    films = receive_files(raw, kind, spool)
                    readings, (version, predictor) = _read_files(films, wish, query["heatmaps"])
            entries = _entries(readings, version, predictor, thresholds_for(version, raw.tenant.id), query["heatmaps"])
        with tenant_tx(raw.tenant.id):
            record(
                action=AuditEvent.Action.IMAGES_PREDICTED,
                by=actor_of(raw),
                object_id=version.pk,
                amount=len(readings),
            )
        return Response(entries)


_Readings = tuple[Sequence[DirectReading], Answering]


def _read_tensor(data: bytes, wish: RequestedVersion, heatmaps: bool) -> _Readings:
    deadline = time.monotonic() + settings.PREDICT_SECONDS
    version, predictor = wish.loaded(deadline, is_fitted=True)
    images = read_tensor(data, predictor.manifest.input_space, settings.PREDICT_MAX_IMAGES)
    _require_few(len(images), heatmaps)
    with predict_limits().running(deadline):
        return read_images(images, predictor), (version, predictor)


def _read_files(films: list[DirectReading], wish: RequestedVersion, heatmaps: bool) -> _Readings:
    deadline = time.monotonic() + settings.PREDICT_SECONDS
    _require_few(len(films), heatmaps)
    version, predictor = wish.loaded(deadline, is_fitted=False)
    with predict_limits().running(deadline):
        readings = list(read_files(films, predictor, sandbox(), batch=DECODED_AHEAD, deadline=deadline))
    return readings, (version, predictor)


def _require_few(count: int, heatmaps: bool) -> None:
    most = settings.PREDICT_MAX_HEATMAP_IMAGES
    if heatmaps and count > most:
        raise TooLargeError(f"Heatmaps come with {most} images at most: send fewer at once.", "too-many-images")


def _entries(
    readings: Sequence[DirectReading],
    version: ModelVersion,
    predictor: "engine.Predictor",
    thresholds: Mapping[str, float | None],
    heatmaps: bool,
) -> list[dict[str, Any]]:
    if not any(reading.judged for reading in readings):
        raise _unreadable(readings)
    for reading in readings:
        PREDICTIONS.labels("read" if reading.gate.accepted else "refused" if reading.judged else "unreadable").inc()
    notice = {"intended_use": settings.INTENDED_USE_NOTICE}
    name = str(version)
    return [
        prediction_json(each, model_version=name, predictor=predictor, thresholds=thresholds, heatmaps=heatmaps)
        | notice
        for each in readings
    ]


def _unreadable(readings: Sequence[DirectReading]) -> InvalidInputError | UnavailableError:
    """The refusal of a request of which nothing could be read."""
    first = readings[0].gate
    assert first.reason is not None
    PREDICTIONS.labels("unreadable").inc(len(readings))
    kind = UnavailableError if readings[0].is_technical_failure else InvalidInputError
    several = f"None of the {len(readings)} images can be read. The first: " if len(readings) > 1 else ""
    return kind(f"{several}{first.detail}", first.reason)
