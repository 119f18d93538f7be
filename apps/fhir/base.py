"""What all FHIR views share: who may read, the one format, and errors as OperationOutcome."""

from collections.abc import Callable
from typing import Any, Final, cast

from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.core.errors import NotAcceptableError
from apps.fhir.outcomes import FHIR_JSON, fhir_exception_handler
from apps.tenants.http import TenantRequest
from apps.tenants.models import ApiScope

FHIR_VERSION: Final = "4.0.1"
_JSON: Final = frozenset({FHIR_JSON, "application/json", "text/json", "application/*", "*/*"})


class FhirRenderer(JSONRenderer):
    media_type = FHIR_JSON
    format = "json"


class ReadsByKey(BasePermission):
    """FHIR is for systems. Members read in the portal, where the hospital's rules for readers hold, such as blind
    reading."""

    def has_permission(self, request: Request, view: object) -> bool:
        client = cast(TenantRequest, request._request).api_client
        self.message = f"FHIR needs an API key with the scope {ApiScope.FHIR}. Ask your administrator for one."
        return client is not None and ApiScope.FHIR in client.scopes


class FhirView(APIView):
    permission_classes: Any = (ReadsByKey,)
    renderer_classes = (FhirRenderer,)
    parser_classes = ()
    http_method_names: Any = ("get", "head")
    schema = None

    @property
    def base(self) -> str:
        """The address of the service."""
        return self.request.build_absolute_uri("/fhir")

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """Only JSON is offered; errors are JSON whatever is accepted.

        Raises:
            NotAcceptableError: the request accepts none of its media types, or another version of FHIR.
        """
        if not force and not self.accepts(request):
            raise NotAcceptableError(f"Answers are {FHIR_JSON} of FHIR {FHIR_VERSION}; accept that.")
        return FhirRenderer(), FHIR_JSON

    def accepts(self, request: Request) -> bool:
        """Whether JSON is accepted. ``_format`` stands for the header (R4, 3.1.0.1.11)."""
        # The plus sign of a media type that is not escaped arrives as a space.
        wanted = request.query_params.get("_format", "").replace(" ", "+") or request.headers.get("Accept", "*/*")
        return wanted == "json" or any(_is_json(each) for each in wanted.split(","))

    def get_exception_handler(self) -> Callable[..., Any]:
        return fhir_exception_handler

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        # Answers contain data of the tenant, so no shared cache may store them.
        response.headers.setdefault("Cache-Control", "private, no-store")
        return super().finalize_response(request, response, *args, **kwargs)


def _is_json(media_range: str) -> bool:
    media_type, *parameters = (each.strip().lower() for each in media_range.split(";"))
    versions = [each.partition("=")[2] for each in parameters if each.startswith("fhirversion=")]
    return media_type in _JSON and all(FHIR_VERSION.startswith(version.strip('"')) for version in versions)
