"""Uploads in pieces, over connections that break: the tus protocol 1.0 (core, creation, termination, expiration).

A member's browser starts an upload, sends its pieces, and then has the whole file stored like one of the form. Each
upload is known to its user at its tenant only.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.http import http_date
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.audit.services import actor_of
from apps.core.errors import InvalidInputError, UnsupportedTypeError
from apps.core.problems import problem_response
from apps.portal.access import MemberRequest, members_only, require_member_of_page
from apps.portal.forms import PictureForm
from apps.portal.upload_files import PictureDetails, UploadIngest, UploadOutcome
from apps.portal.views.upload import details_of, uploads_of
from apps.studies.archives import display_name
from apps.studies.resumable import PartialUpload
from apps.studies.spool import Spool, open_spool
from apps.studies.uploads import ReceivedFile, announced_length
from apps.tenants.middleware import opens_own_transaction

VERSION = "1.0.0"
EXTENSIONS = "creation,termination,expiration"
PIECE_TYPE = "application/offset+octet-stream"
_LONGEST_METADATA = 1024
_NUMBER = re.compile(r"[0-9]{1,15}")
_ATTEMPT = re.compile(r"[0-9a-f]{0,64}")

_View = TypeVar("_View", bound=Callable[..., HttpResponse])


def _tus(view: _View) -> _View:
    """Speak version 1.0.0 only, as the protocol asks for, and to the member who opened the page only."""

    @wraps(view)
    def checked(request: MemberRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "OPTIONS" and request.headers.get("Tus-Resumable") != VERSION:
            response: HttpResponse = problem_response(
                HTTPStatus.PRECONDITION_FAILED, _("Only version 1.0.0 of the tus protocol is spoken."), "tus-version"
            )
            response["Tus-Version"] = VERSION
        else:
            require_member_of_page(request, request.headers.get("X-Member", ""))
            response = view(request, *args, **kwargs)
        response["Tus-Resumable"] = VERSION
        response["Cache-Control"] = "no-store"
        return response

    return checked  # type: ignore[return-value]


@opens_own_transaction
@require_http_methods(["OPTIONS", "POST"])
@members_only
@_tus
def parts(request: MemberRequest) -> HttpResponse:
    """Start an upload, or find the one of the same file."""
    if request.method == "OPTIONS":
        response = HttpResponse(status=HTTPStatus.NO_CONTENT)
        response["Tus-Version"], response["Tus-Extension"] = VERSION, EXTENSIONS
        response["Tus-Max-Size"] = settings.MAX_UPLOAD_BYTES
        return response
    upload = uploads_of(request).start(
        size=_number(request, "Upload-Length"), fingerprint=_fingerprint(request.headers.get("Upload-Metadata", ""))
    )
    response = HttpResponse(status=HTTPStatus.CREATED)
    response["Location"] = reverse("portal:upload-part", args=[upload.id])
    return _with_state(response, upload, upload.offset)


@opens_own_transaction
@require_http_methods(["HEAD", "PATCH", "DELETE"])
@members_only
@_tus
def part(request: MemberRequest, upload_id: str) -> HttpResponse:
    """Say how much of an upload has arrived, add a piece, or discard it."""
    upload = uploads_of(request).get(upload_id)
    if request.method == "DELETE":
        upload.discard()
        return HttpResponse(status=HTTPStatus.NO_CONTENT)
    if request.method == "HEAD":
        response = _with_state(HttpResponse(), upload, upload.offset)
        response["Upload-Length"] = upload.size
        return response
    if request.content_type != PIECE_TYPE:
        raise UnsupportedTypeError(_("A piece has the type %(type)s.") % {"type": PIECE_TYPE})
    offset = upload.append(request, offset=_number(request, "Upload-Offset"), length=announced_length(request))
    return _with_state(HttpResponse(status=HTTPStatus.NO_CONTENT), upload, offset)


@opens_own_transaction
@require_POST
@members_only
def store(request: MemberRequest, upload_id: str) -> HttpResponse:
    """Check and store the complete file. Where the storage fails, its pieces stay and this may be asked again."""
    require_member_of_page(request, request.headers.get("X-Member", ""))
    upload = uploads_of(request).get(upload_id)
    form = PictureForm(request.POST)
    details = details_of(form)
    attempt = request.POST.get("attempt", "")
    if _ATTEMPT.fullmatch(attempt) is None:
        raise InvalidInputError(_("The attempt is not valid."))
    known = _recorded(upload, attempt, details)
    if known is not None:
        return JsonResponse(known, safe=False)
    with open_spool() as spool:
        uploads = UploadIngest(request.tenant, actor_of(request), spool, details)
        outcomes = _store(upload, uploads, spool, request.POST, attempt)
    return JsonResponse([asdict(outcome) for outcome in outcomes], safe=False)


def _store(
    upload: PartialUpload, uploads: UploadIngest, spool: Spool, posted: Any, attempt: str
) -> list[UploadOutcome]:
    with upload.whole() as path:
        spooled = spool.adopt(path)
        announced = posted.get("sha256", "")
        if announced and announced != spooled.sha256:
            path.unlink()
            raise InvalidInputError(_("The file arrived damaged and was not stored: send it again."), "upload-damaged")
        outcomes = list(uploads.ingest(ReceivedFile(display_name(posted.get("name", "")), spooled)))
        if not any(outcome.is_open for outcome in outcomes):
            upload.record({
                "attempt": attempt,
                "details": _digest(uploads.pictures),
                "outcomes": [asdict(outcome) for outcome in outcomes],
            })  # fmt: skip
    return outcomes


def _recorded(upload: PartialUpload, attempt: str, details: PictureDetails) -> list[dict[str, Any]] | None:
    """The outcomes of a file that is stored already, where its sender did not receive the answer."""
    record = upload.recorded()
    if record is None or record["details"] != _digest(details):
        return None
    outcomes: list[dict[str, Any]] = record["outcomes"]
    if record["attempt"] == attempt:
        return outcomes
    # Another window sent the same file.
    return [{**each, "outcome": "known"} if each["outcome"] == "stored" else each for each in outcomes]


def _digest(details: PictureDetails) -> str:
    """Equal for equal details; the record must not repeat them."""
    return salted_hmac("apps.portal.upload", repr(details), algorithm="sha256").hexdigest()


def _with_state(response: HttpResponse, upload: PartialUpload, offset: int) -> HttpResponse:
    response["Upload-Offset"] = offset
    response["Upload-Expires"] = http_date(upload.expires.timestamp())
    return response


def _number(request: MemberRequest, header: str) -> int:
    value = request.headers.get(header, "")
    if _NUMBER.fullmatch(value) is None:
        raise InvalidInputError(_("The header %(header)s is missing or no number.") % {"header": header})
    return int(value)


def _fingerprint(metadata: str) -> str:
    """The value of ``fingerprint`` in Upload-Metadata, still in base64; empty where there is none."""
    if len(metadata) > _LONGEST_METADATA:
        raise InvalidInputError(_("Upload-Metadata is too long."))
    for pair in metadata.split(","):
        key, _separator, value = pair.strip().partition(" ")
        if key == "fingerprint":
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError) as error:
                raise InvalidInputError(_("Upload-Metadata is not valid.")) from error
            return value
    return ""
