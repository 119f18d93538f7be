"""The DICOMweb views. The tenant comes from the credential, never from the URL or the data set."""

import re
from http import HTTPStatus
from typing import Any

from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.audit.services import actor_of
from apps.core.errors import InvalidInputError, NotFoundError, UnsupportedTypeError
from apps.dicomweb.multipart import DICOM, MULTIPART, receive
from apps.dicomweb.responses import DicomJsonRenderer, DicomXmlRenderer, build_response, response_status, warning_header
from apps.dicomweb.stow import store_parts
from apps.studies.spool import open_spool
from apps.studies.uploads import announced_length
from apps.tenants.models import ApiScope

# PS3.5 9.1
_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")


class StoreView(APIView):
    """Store Instances (PS3.18 10.5). The body is streamed, and the transaction is opened after it was received."""

    required_scope = ApiScope.STORE
    renderer_classes = (DicomJsonRenderer, JSONRenderer, DicomXmlRenderer)
    parser_classes = ()
    http_method_names = ("post", "options")
    schema = None

    def post(self, request: Request, study_instance_uid: str | None = None) -> Response:
        raw: Any = request._request
        if study_instance_uid is not None and not _UID.fullmatch(study_instance_uid):
            raise InvalidInputError("The StudyInstanceUID in the address is not a UID (PS3.5 9.1).", "uid-invalid")
        if raw.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedTypeError("Send the body without Content-Encoding.")
        length = announced_length(raw)
        with open_spool(length or 0) as spool:
            parts = receive(raw, content_type=raw.META.get("CONTENT_TYPE", ""), length=length, spool=spool)
            outcome = store_parts(
                tenant_id=raw.tenant.id, parts=parts, study_instance_uid=study_instance_uid, by=actor_of(raw)
            )
        warning = warning_header(outcome)
        return Response(
            build_response(outcome),
            status=response_status(outcome),
            headers={"Warning": warning} if warning else None,
        )

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        return Response(status=HTTPStatus.NO_CONTENT, headers={"Accept-Post": f'{MULTIPART}; type="{DICOM}", {DICOM}'})


class AbsentView(APIView):
    """Answers 404 with a problem document for every other DICOMweb address."""

    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFoundError("This DICOMweb address is not offered: send instances by POST to /studies.")
