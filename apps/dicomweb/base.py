"""What all DICOMweb views share: whose request it is, what the caller may see, and cross-origin access."""

import re
from http import HTTPStatus
from typing import Any, cast

from django.db import DatabaseError, InterfaceError
from django.http import HttpResponseBase
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.errors import InvalidInputError
from apps.dicomweb.multipart import DICOM, MULTIPART
from apps.reading.models import AiDisplay
from apps.reading.selectors import reading_policy
from apps.tenants.authentication import HasTenant
from apps.tenants.http import TenantRequest
from apps.tenants.models import ApiScope
from apps.tenants.origins import allows_origin, is_listed_origin
from apps.tenants.scope import tenant_tx
from apps.tenants.services import sees_findings

# PS3.5 9.1
_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")
_EXPOSED = "Warning, ETag, Content-Range, Content-Location"
_PREFLIGHT_SECONDS = "600"


class StoresByKey(BasePermission):
    """Instances are stored by API keys alone: another site must not make a browser store with the user's session."""

    message = "Store instances with an API key that has the scope dicomweb.store, not with a signed-in browser."

    def has_permission(self, request: Request, view: object) -> bool:
        return request.method != "POST" or cast(TenantRequest, request._request).api_client is not None


class DicomwebView(APIView):
    """A view for API keys and for members who are signed in to the portal.

    Its requests open their own transaction, which ends before an answer is rendered or streamed.
    """

    get_scope: ApiScope = ApiScope.RETRIEVE
    permission_classes: Any = (HasTenant, StoresByKey)
    renderer_classes: Any = (JSONRenderer,)
    parser_classes = ()
    http_method_names: Any = ("get", "head", "options")
    schema = None

    @property
    def required_scope(self) -> ApiScope:
        return ApiScope.STORE if self.request.method == "POST" else self.get_scope

    @property
    def tenant_request(self) -> TenantRequest:
        return cast(TenantRequest, self.request._request)

    @property
    def with_results(self) -> bool:
        """Whether the caller gets objects that show findings: a key by its scope, a member by the role.

        Where readers read blind first, members get them on the study's page, after they have committed an impression.
        """
        asked = self.tenant_request
        if asked.api_client is not None:
            return True
        if asked.tenant is None or not sees_findings(asked.membership):
            return False
        with tenant_tx(asked.tenant.pk):
            return reading_policy().ai_display != AiDisplay.BLIND_FIRST

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # A browser asks without a credential whether it may send one (Fetch standard, CORS-preflight request).
        if request.method != "OPTIONS":
            super().initial(request, *args, **kwargs)
        else:
            request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """Problem documents are JSON whatever is accepted; the views negotiate the type of an answer themselves."""
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        headers = {}
        if "post" in self.http_method_names:
            headers["Accept-Post"] = f'{MULTIPART}; type="{DICOM}", {DICOM}'
        return Response(status=HTTPStatus.NO_CONTENT, headers=headers)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        finished = super().finalize_response(request, response, *args, **kwargs)
        self._allow_origin(request, finished)
        return finished

    def _allow_origin(self, request: Request, response: HttpResponseBase) -> None:
        """Cross-Origin Resource Sharing for the origins that the tenant listed; never with cookies."""
        origin = request.headers.get("Origin", "")
        if not origin:
            return
        response["Vary"] = f"{response['Vary']}, Origin" if response.has_header("Vary") else "Origin"
        tenant = self.tenant_request.tenant
        try:
            if request.method == "OPTIONS":
                is_allowed = is_listed_origin(origin)
            else:
                is_allowed = tenant is not None and allows_origin(tenant_id=tenant.pk, origin=origin)
        except (DatabaseError, InterfaceError):
            return
        if not is_allowed:
            return
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Expose-Headers"] = _EXPOSED
        if request.method == "OPTIONS":
            response["Access-Control-Allow-Methods"] = ", ".join(name.upper() for name in self.http_method_names)
            response["Access-Control-Allow-Headers"] = "Authorization, Accept, Content-Type, Range, If-None-Match"
            response["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS


def require_uid(uid: str | None, name: str) -> None:
    """Refuse an address whose UID is none."""
    if uid is not None and not _UID.fullmatch(uid):
        raise InvalidInputError(f"The {name} in the address is not a UID (PS3.5 9.1).", "uid-invalid")
