"""The view ``POST /predict``: reads images synchronously, within a time limit, and stores no image."""

import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse, QueryDict
from django.utils.datastructures import MultiValueDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from apps.api.base import ApiView
from apps.api.filters import read_query
from apps.api.idempotency import HEADER, answer_once
from apps.api.predict_bodies import FILES, FORM, NPY, content_type_of, receive_files, receive_tensor
from apps.api.serializers import PredictionSerializer, PredictQuerySerializer
from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import InvalidInputError, TooLargeError, UnavailableError
from apps.core.metrics import PREDICTIONS
from apps.deployment.selectors import recalibration_for, thresholds_for
from apps.deployment.stops import stops_for
from apps.inference.prediction import ImageFile, prediction_json, read_files
from apps.inference.reader import ImageReading, predict_preprocessed
from apps.inference.serving import RequestedVersion, image_reader, predict_limits, requested_version
from apps.inference.tensors import read_tensor
from apps.inference.version_cache import LoadedVersion
from apps.studies.spool import open_spool
from apps.studies.uploads import announced_length
from apps.tenants.models import ApiScope
from apps.tenants.scope import tenant_tx

# A small number, because the portal's pages use the same decoder processes.
DECODED_AHEAD = 4
_KEY = OpenApiParameter(
    HEADER,
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="A new key for each request, such as a UUID. For 24 hours the same request with the same key gets the "
    "same answer, also after the version in service has changed; another request with it is refused with 422. The "
    "answer is kept for that time, the images are not. Without a key nothing is kept.",
)
_FORM_SCHEMA = {
    "type": "object",
    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    "required": ["files"],
}
"""Documented as `files`; a file in any field is accepted."""

_DESCRIPTION = """
Send one image as `application/dicom`, `image/png` or `image/jpeg`, or several as files of a `multipart/form-data` form,
in fields of any name; the type of an image is read from its bytes. Or send images that you have preprocessed, as
`application/x-npy`: a NumPy array file, little-endian float32 in C order, N × 3 × size × size in the version's own
input space, which `GET /api/v1/models/{name}/{number}/` describes. You may send it with `Content-Encoding: gzip`.

The answer has one entry for each image, in their order. An image that the input check refuses is a result:
`gate.accepted` is false, `gate.reason` is the reason, and there are no findings. An image that cannot be read is also a
result, if at least one other image can be read. If no image can be read, the answer is a problem document with the
reason for the first image.

Only one audit event is stored: the caller, the number of images and the version; with an `Idempotency-Key` also the
answer, for 24 hours. Too many concurrent requests are answered with 429 (of your hospital) or 503 (of all hospitals)
and `Retry-After`; so is a version that is being loaded.
"""


class PredictView(ApiView):
    required_scope = ApiScope.PREDICT
    shows_findings = True
    parser_classes = ()
    http_method_names = ["post", "options"]  # noqa: RUF012

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Request:
        # Django's CSRF check would read the whole body to find its token in a form.
        request._post, request._files = QueryDict(), MultiValueDict()
        return super().initialize_request(request, *args, **kwargs)

    @extend_schema(
        operation_id="predict",
        summary="Read images at once; nothing is stored",
        description=_DESCRIPTION,
        parameters=[PredictQuerySerializer, _KEY],
        request={**dict.fromkeys((*FILES, NPY), OpenApiTypes.BINARY), FORM: _FORM_SCHEMA},
        responses={200: PredictionSerializer(many=True)},
        tags=["Predict"],
    )
    def post(self, request: Request) -> HttpResponse:
        raw: Any = request._request
        query = read_query(request.query_params, PredictQuerySerializer)
        content_type = content_type_of(raw)
        with predict_limits().pending(raw.tenant.id):
            requested = requested_version(query.get("model_version"), raw.tenant.id)
            if content_type == NPY:
                data = receive_tensor(raw)
                return answer_once(
                    raw,
                    lambda: _fingerprint(raw, content_type, [("", data)]),
                    lambda: _answer(raw, _read_tensor(data, requested, query["heatmaps"]), query["heatmaps"]),
                )
            with open_spool(announced_length(raw) or 0, durable=False) as spool:
                files = receive_files(raw, content_type, spool)
                return answer_once(
                    raw,
                    lambda: _fingerprint(raw, content_type, ((each.name, each.path.read_bytes()) for each in files)),
                    lambda: _answer(raw, _read_files(files, requested, query["heatmaps"]), query["heatmaps"]),
                )


def _fingerprint(request: Any, content_type: str, contents: Iterable[tuple[str | None, bytes]]) -> str:
    """What a request asks for. The bytes of a form differ each time it is sent, its files do not."""
    digest = hashlib.sha256()
    for part in (request.path, request.META.get("QUERY_STRING", ""), content_type):
        digest.update(f"{part}\n".encode())
    for name, content in contents:
        digest.update(f"{name or ''}\n{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


_Readings = tuple[Sequence[ImageReading], LoadedVersion]


def _answer(request: Any, readings: _Readings, heatmaps: bool) -> list[dict[str, Any]]:
    """The entries of the answer, after the audit trail has recorded that there is one."""
    read, loaded = readings
    entries = _entries(read, loaded, request.tenant.id, heatmaps)
    with tenant_tx(request.tenant.id):
        record(
            action=AuditEvent.Action.IMAGES_PREDICTED,
            by=actor_of(request),
            object_id=loaded.version.pk,
            amount=len(read),
        )
    return entries


def _read_tensor(data: bytes, requested: RequestedVersion, heatmaps: bool) -> _Readings:
    deadline = time.monotonic() + settings.PREDICT_SECONDS
    loaded = requested.loaded(deadline, is_preprocessed=True)
    images = read_tensor(data, loaded.predictor.manifest.input_space, settings.PREDICT_MAX_IMAGES)
    _check_heatmap_limit(len(images), heatmaps)
    with predict_limits().running(deadline):
        return predict_preprocessed(images, loaded.predictor), loaded


def _read_files(files: list[ImageFile], requested: RequestedVersion, heatmaps: bool) -> _Readings:
    deadline = time.monotonic() + settings.PREDICT_SECONDS
    _check_heatmap_limit(len(files), heatmaps)
    loaded = requested.loaded(deadline, is_preprocessed=False)
    with predict_limits().running(deadline):
        readings = read_files(files, loaded.predictor, image_reader(), batch=DECODED_AHEAD, deadline=deadline)
        return list(readings), loaded


def _check_heatmap_limit(count: int, heatmaps: bool) -> None:
    most = settings.PREDICT_MAX_HEATMAP_IMAGES
    if heatmaps and count > most:
        raise TooLargeError(
            f"Heatmaps are available for at most {most} images in one request: send fewer images.", "too-many-images"
        )


def _entries(
    readings: Sequence[ImageReading], loaded: LoadedVersion, tenant_id: UUID, heatmaps: bool
) -> list[dict[str, Any]]:
    if not any(reading.reached_input_check for reading in readings):
        raise _unreadable(readings)
    for reading in readings:
        PREDICTIONS.labels(
            "read" if reading.probabilities else "refused" if reading.reached_input_check else "unreadable"
        ).inc()
    notice = {"intended_use": settings.INTENDED_USE_NOTICE}
    arguments: dict[str, Any] = {
        "version": loaded.version,
        "predictor": loaded.predictor,
        "thresholds": thresholds_for(loaded.version, tenant_id),
        "recalibration": recalibration_for(loaded.version, tenant_id),
        "heatmaps": heatmaps,
        "stops": stops_for(tenant_id),
    }
    return [prediction_json(each, **arguments) | notice for each in readings]


def _unreadable(readings: Sequence[ImageReading]) -> InvalidInputError | UnavailableError:
    """The error for a request of which no image could be read."""
    first = readings[0].input_check
    assert first.reason is not None
    PREDICTIONS.labels("unreadable").inc(len(readings))
    error_class = UnavailableError if readings[0].failure else InvalidInputError
    several = f"None of the {len(readings)} images can be read. The first: " if len(readings) > 1 else ""
    return error_class(f"{several}{first.detail}", first.reason)
