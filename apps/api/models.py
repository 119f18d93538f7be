"""Writes of REST that came with an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07)."""

from typing import ClassVar

from django.db import models

from apps.tenants.models import TenantModel


class IdempotentRequest(TenantModel):
    """One key of one caller, and the answer to the request that it came with; while there is none, it is being made.

    A caller that lost an answer sends the same request with the same key, and gets the same answer, whatever has
    changed meanwhile. The row is deleted when it has expired.
    """

    caller = models.CharField(max_length=64, help_text="The API key's or the person's id: keys of callers differ.")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of what was asked for.")
    started = models.DateTimeField()
    answer = models.BinaryField(null=True, help_text="The JSON of the answer, compressed by zlib.")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "caller", "key"], name="api_one_request_per_key"),
        ]
        indexes: ClassVar = [models.Index(fields=["started"], name="api_request_by_age")]

    def __str__(self) -> str:
        return f"Request {self.pk}"
