"""The API's views of webhooks: the destinations of a hospital's events. The portal manages them as well."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from apps.api.base import ApiView
from apps.api.idempotency import HEADER, REPLAYED, write_once
from apps.api.webhook_serializers import (
    CreatedWebhookSerializer,
    WebhookChangeSerializer,
    WebhookListSerializer,
    WebhookSecretSerializer,
    WebhookSerializer,
    WebhookTestSerializer,
    WebhookWriteSerializer,
)
from apps.audit.services import Actor, actor_of
from apps.results import destinations as services
from apps.results.destinations import Caller, DestinationSettings
from apps.results.selectors import ListedDestination, listed_destinations
from apps.routing.models import Destination
from apps.tenants.models import ApiScope

_ID = OpenApiParameter("webhook_id", OpenApiTypes.UUID, OpenApiParameter.PATH)
_TAGS = ("Webhooks",)


class WebhookView(ApiView):
    required_scope = ApiScope.WEBHOOKS

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        services.require_manager(self.of_request()["caller"])

    def of_request(self) -> dict[str, Any]:
        """Who asks, as the services want it."""
        raw: Any = self.request._request
        caller: Caller = raw.api_client or raw.membership
        by: Actor = actor_of(raw)
        return {"caller": caller, "by": by}

    def listed(self) -> list[dict[str, Any]]:
        """The webhooks of the tenant in force."""
        rows = [each for each in listed_destinations() if each.row.kind == Destination.Kind.WEBHOOK]
        return [_described(each) for each in rows]

    def one(self, webhook_id: UUID) -> dict[str, Any]:
        found = next((each for each in self.listed() if each["id"] == webhook_id), None)
        if found is None:
            raise services.not_found()
        return found


class WebhookListView(WebhookView):
    @extend_schema(
        operation_id="listWebhooks", summary="The hospital's webhooks", responses=WebhookListSerializer, tags=_TAGS
    )
    def get(self, request: Request) -> Response:
        return Response(WebhookListSerializer({"results": self.listed()}).data)

    @extend_schema(
        operation_id="addWebhook",
        summary="Add a webhook; the answer has its secret, only this once",
        description=f"A request that is sent again with its `{HEADER}` gets the webhook and its secret as they are. "
        "Without one it is answered with 409, because names are unique.",
        request=WebhookWriteSerializer,
        responses={201: CreatedWebhookSerializer},
        tags=_TAGS,
    )
    def post(self, request: Request) -> Response:
        given = _read(request, WebhookWriteSerializer)
        chosen = DestinationSettings(name=given["name"], url=given["url"], contents=given["events"])

        def add() -> dict[str, str]:
            row, _ = services.add_destination(kind=Destination.Kind.WEBHOOK, chosen=chosen, **self.of_request())
            return {"id": str(row.pk)}

        kept, is_repeated = write_once(request, add)
        webhook = self.one(UUID(kept["id"])) | {"secret": services.webhook_secret(UUID(kept["id"]))}
        headers = {"Location": f"{request.path}{kept['id']}/"} | _replayed(is_repeated)
        return Response(CreatedWebhookSerializer(webhook).data, status=201, headers=headers)


class WebhookDetailView(WebhookView):
    @extend_schema(
        operation_id="getWebhook", summary="One webhook", parameters=[_ID], responses=WebhookSerializer, tags=_TAGS
    )
    def get(self, request: Request, webhook_id: UUID) -> Response:
        return Response(WebhookSerializer(self.one(webhook_id)).data)

    @extend_schema(
        operation_id="changeWebhook",
        summary="Change a webhook, or switch it on or off; what is left out stays",
        parameters=[_ID],
        request=WebhookChangeSerializer,
        responses=WebhookSerializer,
        tags=_TAGS,
    )
    def patch(self, request: Request, webhook_id: UUID) -> Response:
        now = self.one(webhook_id)
        given = _read(request, WebhookChangeSerializer)
        now |= given
        if given.keys() & {"name", "url", "events"}:
            chosen = DestinationSettings(name=now["name"], url=now["url"], contents=now["events"])
            services.change_destination(destination_id=webhook_id, chosen=chosen, **self.of_request())
        if "is_enabled" in given:
            services.switch_destination(destination_id=webhook_id, is_enabled=given["is_enabled"], **self.of_request())
        return Response(WebhookSerializer(self.one(webhook_id)).data)

    @extend_schema(
        operation_id="removeWebhook",
        summary="Remove a webhook with its deliveries",
        parameters=[_ID],
        responses={204: None},
        tags=_TAGS,
    )
    def delete(self, request: Request, webhook_id: UUID) -> Response:
        self.one(webhook_id)
        services.remove_destination(destination_id=webhook_id, **self.of_request())
        return Response(status=204)


class WebhookTestView(WebhookView):
    @extend_schema(
        operation_id="testWebhook",
        summary="Send a ping; the webhook's last success or failure shows its outcome",
        parameters=[_ID],
        request=None,
        responses={202: WebhookTestSerializer},
        tags=_TAGS,
    )
    def post(self, request: Request, webhook_id: UUID) -> Response:
        self.one(webhook_id)

        def test() -> dict[str, str]:
            return {"delivery": str(services.send_test(destination_id=webhook_id, **self.of_request()).pk)}

        kept, is_repeated = write_once(request, test)
        return Response(WebhookTestSerializer(kept).data, status=202, headers=_replayed(is_repeated))


class WebhookSecretView(WebhookView):
    @extend_schema(
        operation_id="renewWebhookSecret",
        summary="Make a new secret; for a day, messages are signed with the former one as well",
        parameters=[_ID],
        request=None,
        responses=WebhookSecretSerializer,
        tags=_TAGS,
    )
    def post(self, request: Request, webhook_id: UUID) -> Response:
        self.one(webhook_id)

        def renew() -> dict[str, str]:
            services.renew_webhook_secret(destination_id=webhook_id, **self.of_request())
            return {}

        _, is_repeated = write_once(request, renew)
        secret = services.webhook_secret(webhook_id)
        return Response(WebhookSecretSerializer({"secret": secret}).data, headers=_replayed(is_repeated))


class WebhookRepeatView(WebhookView):
    @extend_schema(
        operation_id="repeatWebhookDeliveries",
        summary="Send again everything that was given up",
        parameters=[_ID],
        request=None,
        responses={202: None},
        tags=_TAGS,
    )
    def post(self, request: Request, webhook_id: UUID) -> Response:
        self.one(webhook_id)

        def repeat() -> dict[str, str]:
            services.repeat_failed(destination_id=webhook_id, **self.of_request())
            return {}

        _, is_repeated = write_once(request, repeat)
        return Response(status=202, headers=_replayed(is_repeated))


def _replayed(is_repeated: bool) -> dict[str, str]:
    return {REPLAYED: "true"} if is_repeated else {}


def _read(request: Request, serializer: type[Serializer[Any]]) -> dict[str, Any]:
    """Validate the JSON of a request; an unknown member is refused, because a typo must not be ignored.

    Raises:
        ValidationError
    """
    if not isinstance(request.data, Mapping):
        raise ValidationError({"body": ["Send a JSON object."]})
    known = serializer().fields
    unknown = {
        name: [f"There is no such member. There are: {', '.join(known)}."] for name in request.data if name not in known
    }
    read = serializer(data=request.data)
    if not read.is_valid() or unknown:
        raise ValidationError(unknown | read.errors)
    return dict(read.validated_data)


def _described(listed: ListedDestination) -> dict[str, Any]:
    row = listed.row
    return {
        "id": row.pk,
        "name": row.name,
        "url": row.url,
        "events": row.contents,
        "is_enabled": row.is_enabled,
        "disabled_because": row.disabled_because,
        "created": row.created,
        "last_success": row.last_success,
        "last_failure": row.last_failure,
        "last_error": row.last_error,
        "waiting": listed.waiting,
        "failed": listed.failed,
    }
