"""The DICOMweb resources that are both stored to and read, the capabilities, and every other address.

The tenant comes from the credential, never from the URL or the data set.
"""

from typing import Any

from django.http import HttpResponse, HttpResponseBase
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.audit.services import actor_of
from apps.core.errors import NotFoundError, UnsupportedTypeError
from apps.dicomweb.base import DicomwebView, require_uid
from apps.dicomweb.capabilities import capabilities, wadl
from apps.dicomweb.media_types import JSON, Offer, accepted_ranges, require
from apps.dicomweb.multipart import receive
from apps.dicomweb.responses import DicomJsonRenderer, DicomXmlRenderer, build_response, response_status, warning_header
from apps.dicomweb.retrieve_views import RetrieveView
from apps.dicomweb.search_views import SearchMixin
from apps.dicomweb.stow import store_parts
from apps.studies.query.attributes import Level
from apps.studies.spool import open_spool
from apps.studies.uploads import announced_length
from apps.tenants.models import ApiScope

_WADL = "application/vnd.sun.wadl+xml"


class StoreMixin:
    """Store Instances (PS3.18 10.5) at the address of a view; the class beside it is a `DicomwebView`."""

    http_method_names: Any = ("get", "head", "post", "options")
    store_renderers: Any = (DicomJsonRenderer, JSONRenderer, DicomXmlRenderer)

    def get_renderers(self: Any) -> list[BaseRenderer]:
        """REST framework negotiates the type of the response module before the body is read."""
        kinds = self.store_renderers if self.request.method == "POST" else self.renderer_classes
        return [kind() for kind in kinds]

    def perform_content_negotiation(self: Any, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        if request.method != "POST":
            return DicomwebView.perform_content_negotiation(self, request, force)
        return APIView.perform_content_negotiation(self, request, force)

    def post(self: Any, request: Request, study: str | None = None) -> Response:
        """Store the instances of a body, which is streamed; the transaction is opened after it was received."""
        raw = self.tenant_request
        require_uid(study, "StudyInstanceUID")
        if raw.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedTypeError("Send the body without Content-Encoding.")
        length = announced_length(raw)
        with open_spool(length or 0) as spool:
            parts = receive(raw, content_type=raw.META.get("CONTENT_TYPE", ""), length=length, spool=spool)
            outcome = store_parts(tenant_id=raw.tenant.id, parts=parts, study_instance_uid=study, by=actor_of(raw))
        warning = warning_header(outcome)
        return Response(
            build_response(outcome, request.build_absolute_uri("/dicom-web")),
            status=response_status(outcome),
            headers={"Warning": warning} if warning else None,
        )


class StudiesView(StoreMixin, SearchMixin, DicomwebView):
    """All studies: search in them, or store instances."""

    get_scope = ApiScope.QUERY

    def get(self, request: Request) -> Response:
        return self.search(request, Level.STUDY, {})


class StudyView(StoreMixin, RetrieveView):
    """One study: retrieve it, or store instances of it."""


class CapabilitiesView(DicomwebView):
    """What is offered here (PS3.18 8.9), for anybody: it names no tenant."""

    permission_classes: Any = ()
    authentication_classes: Any = ()

    def get(self, request: Request) -> HttpResponseBase:
        offers = [Offer(JSON, is_multipart=False), Offer(_WADL, is_multipart=False)]
        base = request.build_absolute_uri("/dicom-web/")
        if require(accepted_ranges(request), offers).media_type == JSON:
            return Response(capabilities(base))
        return HttpResponse(wadl(base), content_type=_WADL)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """The standard asks for the capabilities by OPTIONS; a browser asks for cross-origin access."""
        if "Access-Control-Request-Method" in request.headers:
            return super().options(request, *args, **kwargs)
        return self.get(request)


class AbsentView(APIView):
    """Answers 404 with a problem document for every other DICOMweb address."""

    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFoundError("This DICOMweb address is not offered: GET /dicom-web/ names those that are.")
