"""Base classes of the API's views."""

import hashlib
from http import HTTPStatus
from typing import Any

from django.utils.cache import get_conditional_response
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.api.openapi import ApiSchema
from apps.tenants.models import ApiScope


class SingleFormatNegotiation(BaseContentNegotiation):
    """Always chooses the view's one format and ignores ``Accept``, because a refusal would not help the client."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return next((each for each in parsers), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


# A docstring would become the description of every operation in the OpenAPI document.
class ApiView(APIView):
    schema = ApiSchema()
    content_negotiation_class = SingleFormatNegotiation

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        # Answers contain data of the tenant, so no shared cache may store them.
        response.headers.setdefault("Cache-Control", "private, no-store")
        return super().finalize_response(request, response, *args, **kwargs)


class ReadView(ApiView):
    required_scope = ApiScope.READ
    http_method_names = ["get", "head", "options"]  # noqa: RUF012

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        raw: Any = request._request
        if response.status_code != HTTPStatus.OK or raw.method not in ("GET", "HEAD"):
            return response
        if raw.api_client is not None:
            # A program may keep an answer and ask whether it is still true; the browsers of a ward keep none.
            response.headers["Cache-Control"] = "private, no-cache"
        if isinstance(response, Response):
            response.add_post_render_callback(lambda rendered: unless_known(raw, rendered))
            return response
        return unless_known(raw, response)


def unless_known(request: Any, response: Any) -> Any:
    """The response with its ETag, or 304 where the client has it already (RFC 9110, 13.1.2)."""
    tag = f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'
    response["ETag"] = tag
    return get_conditional_response(request, etag=tag, response=response)
