"""The JSON of webhooks, as it is documented in the OpenAPI schema."""

from typing import Any

from rest_framework import serializers

from apps.events.models import TenantEvent
from apps.results.destinations import LONGEST_NAME
from apps.routing.models import URL_LENGTH


class WebhookWriteSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=LONGEST_NAME, help_text="For people; unique in the hospital.")
    url = serializers.CharField(max_length=URL_LENGTH, help_text="https, or a network that the operator allowed.")
    events = serializers.MultipleChoiceField(choices=TenantEvent.Type.values, allow_empty=False)


class WebhookChangeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=LONGEST_NAME, required=False)
    url = serializers.CharField(max_length=URL_LENGTH, required=False)
    events = serializers.MultipleChoiceField(choices=TenantEvent.Type.values, allow_empty=False, required=False)
    is_enabled = serializers.BooleanField(required=False)


class WebhookSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(choices=TenantEvent.Type.values))
    is_enabled = serializers.BooleanField()
    disabled_because = serializers.CharField(allow_blank=True, help_text="Why Checxray itself switched it off.")
    created = serializers.DateTimeField()
    last_success = serializers.DateTimeField(allow_null=True)
    last_failure = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField(allow_blank=True, help_text="Empty since the last success.")
    waiting = serializers.IntegerField(help_text="Messages that wait to be sent.")
    failed = serializers.IntegerField(help_text="Messages that were given up; `repeat` sends them again.")


class CreatedWebhookSerializer(WebhookSerializer):
    secret = serializers.CharField(help_text="Signs the messages (Standard Webhooks). It is shown only this once.")


class WebhookListSerializer(serializers.Serializer[Any]):
    results = WebhookSerializer(many=True)


class WebhookSecretSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="It is shown only this once.")


class WebhookTestSerializer(serializers.Serializer[Any]):
    delivery = serializers.UUIDField(help_text="The `webhook-id` of the ping.")
