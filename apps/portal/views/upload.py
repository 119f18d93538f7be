"""The upload page. Bodies are streamed, after the user has been checked."""

from dataclasses import asdict

from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from apps.audit.services import actor_of
from apps.core.errors import InvalidInputError, TooLargeError
from apps.portal.access import MemberRequest, members_only, wants_json
from apps.portal.forms import PictureForm
from apps.portal.upload_files import FIELD, PictureDetails, UploadIngest, UploadOutcome
from apps.studies.spool import Spool, open_spool
from apps.studies.uploads import SpoolUploadHandler
from apps.tenants.middleware import opens_own_transaction

FORM_FIELDS_BYTES = 1024 * 1024


@opens_own_transaction
@csrf_exempt  # until the streaming handler is in place: _receive checks the token
@require_http_methods(["GET", "POST"])
@members_only
def upload(request: MemberRequest) -> HttpResponse:
    if request.method == "GET":
        return _page(request, [])
    announced = int(request.META.get("CONTENT_LENGTH") or 0)
    if announced > settings.MAX_UPLOAD_BYTES + FORM_FIELDS_BYTES:
        raise TooLargeError(f"One upload may have {settings.MAX_UPLOAD_BYTES // 2**20} MiB at most: split it.")
    with open_spool(announced) as spool:
        handler = SpoolUploadHandler(request, spool, limit=settings.MAX_UPLOAD_BYTES, field=FIELD)
        request.upload_handlers = [handler]
        return _receive(request, spool, handler)


@csrf_protect
def _receive(request: MemberRequest, spool: Spool, handler: SpoolUploadHandler) -> HttpResponse:
    form = PictureForm(request.POST)
    if handler.error is not None:
        raise handler.error
    # The form's last field. Without it the connection ended early, and the last file may be incomplete.
    if request.POST.get("complete") != "1":
        raise InvalidInputError("The upload was cut off and nothing was stored: send it again.", "upload-cut-off")
    if not handler.received:
        raise InvalidInputError("Choose at least one file.", "no-file")
    if not form.is_valid():
        problems = " ".join(str(message) for messages in form.errors.values() for message in messages)
        raise InvalidInputError(f"Patient details: {problems}")
    uploads = UploadIngest(request.tenant, actor_of(request), spool, PictureDetails(**form.cleaned_data))
    outcomes = [outcome for received in handler.received for outcome in uploads.ingest(received)]
    if wants_json(request):
        return JsonResponse([asdict(outcome) for outcome in outcomes], safe=False)
    return _page(request, outcomes)


def _page(request: MemberRequest, outcomes: list[UploadOutcome]) -> HttpResponse:
    context = {
        "outcomes": outcomes,
        "max_upload_bytes": settings.MAX_UPLOAD_BYTES,
        "max_upload_mib": settings.MAX_UPLOAD_BYTES // 2**20,
    }
    return render(request, "portal/upload.html", context)
