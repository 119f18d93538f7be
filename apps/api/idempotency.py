"""Answers a write once: the same request with the same Idempotency-Key gets the first one's answer again.

draft-ietf-httpapi-idempotency-key-header-07. Errors are not kept: after one, the same key may be used again.
"""

import contextlib
import datetime
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, IntegrityError, InterfaceError, transaction
from django.dispatch import receiver
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.renderers import JSONRenderer

from apps.api.models import IdempotentRequest
from apps.core.errors import ConflictError, InvalidInputError, UnprocessableError
from apps.inference.signals import swept
from apps.tenants.scope import tenant_tx

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
KEPT: Final = datetime.timedelta(hours=24)
# A string of structured fields (RFC 9651), or, as many clients send it, without its quotes.
_KEY = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x5b\x5d-\x7e]{1,255})')


def answer_once(request: Any, fingerprint: Callable[[], str], answer: Callable[[], Any]) -> HttpResponse:
    """The JSON of ``answer``, or of the first answer to this key.

    No transaction may be open: the answer is made outside of one.

    Args:
        fingerprint: of the request, called only where it has a key.

    Raises:
        InvalidInputError: the key is malformed.
        UnprocessableError: the key came with another request.
        ConflictError: the first request with this key is still being answered.
    """
    key = _key_of(request)
    if key is None:
        return _json(JSONRenderer().render(answer()))
    tenant_id: UUID = request.tenant.id
    row = _begin(tenant_id, caller=_caller(request), key=key, fingerprint=fingerprint())
    if row.answer is not None:
        response = _json(zlib.decompress(row.answer))
        response[REPLAYED] = "true"
        return response
    try:
        content = JSONRenderer().render(answer())
        with tenant_tx(tenant_id):
            # A later request took over where this one lasted too long.
            _of(row).update(answer=zlib.compress(content))
    except BaseException:
        # Without it the key is free again after the time limit.
        with contextlib.suppress(DatabaseError, InterfaceError), tenant_tx(tenant_id):
            _of(row).delete()
        raise
    return _json(content)


def write_once(request: Any, write: Callable[[], dict[str, str]]) -> tuple[dict[str, str], bool]:
    """What ``write`` returns, or what it returned for this key before, and whether that is so.

    For a short write in the transaction of the request, which keeps nothing of it where the key is in use.

    Args:
        request: REST framework's; its method, address and JSON are what must be the same.
        write: returns what is kept: ids, and never a secret.

    Raises:
        As `answer_once`.
    """
    raw = request._request
    key = _key_of(raw)
    if key is None:
        return write(), False
    asked = f"{raw.method} {raw.path} {json.dumps(request.data, sort_keys=True)}"
    fingerprint = hashlib.sha256(asked.encode()).hexdigest()
    former = IdempotentRequest.objects.filter(caller=_caller(raw), key=key).first()
    if former is not None and former.started < timezone.now() - KEPT:
        former.delete()
        former = None
    if former is not None:
        if former.fingerprint != fingerprint:
            raise _reused()
        if former.answer is None:
            raise _in_use()
        answer: dict[str, str] = json.loads(zlib.decompress(former.answer))
        return answer, True
    try:
        with transaction.atomic():
            answer = write()
            IdempotentRequest.objects.create(
                caller=_caller(raw), key=key, fingerprint=fingerprint, started=timezone.now(),
                answer=zlib.compress(json.dumps(answer).encode()),
            )  # fmt: skip
    except IntegrityError as error:
        raise _in_use() from error
    return answer, False


def _json(content: bytes) -> HttpResponse:
    return HttpResponse(content, content_type="application/json", status=HTTPStatus.OK)


def _key_of(request: Any) -> str | None:
    given = request.headers.get(HEADER)
    if given is None:
        return None
    found = _KEY.fullmatch(given.strip())
    if found is None:
        raise InvalidInputError(
            f"{HEADER} must have 1 to 255 printable ASCII characters, such as a UUID.", "idempotency-key-invalid"
        )
    return found[1] or found[2]


def _caller(request: Any) -> str:
    return str(request.api_client.pk if request.api_client is not None else request.user.pk)


def _begin(tenant_id: UUID, *, caller: str, key: str, fingerprint: str) -> IdempotentRequest:
    """The row of this key: new, or taken over from a request that ended without an answer, or one with an answer."""
    now = timezone.now()
    with tenant_tx(tenant_id):
        row, is_new = IdempotentRequest.objects.get_or_create(
            caller=caller, key=key, defaults={"fingerprint": fingerprint, "started": now}
        )
        if is_new:
            return row
        locked = IdempotentRequest.objects.select_for_update(no_key=True).filter(pk=row.pk).first()
        if locked is None:
            raise _in_use()
        row = locked
        is_expired = row.started < now - KEPT
        if row.fingerprint != fingerprint and not is_expired:
            raise _reused()
        if row.answer is None and row.started > now - _longest():
            raise _in_use()
        if row.answer is None or is_expired:
            row.answer, row.started, row.fingerprint = None, now, fingerprint
            row.save(update_fields=["answer", "started", "fingerprint"])
    return row


def _reused() -> UnprocessableError:
    return UnprocessableError(
        f"This {HEADER} came with another request before: use a new one.", "idempotency-key-reused"
    )


def _in_use() -> ConflictError:
    detail = f"The first request with this {HEADER} is still being answered: try again."
    return ConflictError(detail, "idempotency-key-in-use", retry_after=2)


def _longest() -> datetime.timedelta:
    """After this time the process that answered is taken to have ended."""
    return datetime.timedelta(seconds=2 * settings.PREDICT_SECONDS)


def _of(row: IdempotentRequest) -> Any:
    """The row, unless another request has taken it over."""
    return IdempotentRequest.objects.filter(pk=row.pk, started=row.started)


@receiver(swept)
def delete_expired(**_: Any) -> None:
    """Delete what is no longer kept, of all tenants."""
    before = timezone.now() - KEPT
    expired = IdempotentRequest.objects.using("dispatch").filter(started__lt=before)
    for tenant_id in expired.order_by().values_list("tenant_id", flat=True).distinct():
        with tenant_tx(tenant_id):
            IdempotentRequest.objects.filter(started__lt=before).delete()
