"""The upload page. Bodies are streamed, after the user has been checked."""

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import conditional_page, require_GET, require_http_methods, require_POST

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record_once
from apps.core.errors import InvalidInputError, TooLargeError
from apps.core.text import whole_number
from apps.portal.access import MemberRequest, members_only, require_member_of_page, wants_json
from apps.portal.forms import PictureForm
from apps.portal.sent_today import LAST_PAGE, sent_today
from apps.portal.upload_files import FIELD, PictureDetails, UploadIngest, UploadOutcome
from apps.studies.resumable import PartialUploads
from apps.studies.spool import Spool, open_spool
from apps.studies.uploads import SpoolUploadHandler, announced_length
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.scope import tenant_tx

FORM_FIELDS_BYTES = 1024 * 1024


@opens_own_transaction
@csrf_exempt  # until the streaming handler is in place: _receive checks the token
@require_http_methods(["GET", "POST"])
@members_only
def upload(request: MemberRequest) -> HttpResponse:
    if request.method == "GET":
        return _page(request, [])
    announced = announced_length(request) or 0
    if announced > settings.MAX_UPLOAD_BYTES + FORM_FIELDS_BYTES:
        limit = settings.MAX_UPLOAD_BYTES // 2**20
        raise TooLargeError(_("One upload may have %(limit)d MiB at most: split it.") % {"limit": limit})
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
        raise InvalidInputError(_("The upload was cut off and nothing was stored: send it again."), "upload-cut-off")
    require_member_of_page(request, request.POST.get("member", ""))
    if not handler.received:
        raise InvalidInputError(_("Choose at least one file."), "no-file")
    uploads = UploadIngest(request.tenant, actor_of(request), spool, details_of(form))
    outcomes = [outcome for received in handler.received for outcome in uploads.ingest(received)]
    if wants_json(request):
        return JsonResponse([asdict(outcome) for outcome in outcomes], safe=False)
    return _page(request, outcomes)


def details_of(form: PictureForm) -> PictureDetails:
    """The details of the pictures that are sent.

    Raises:
        InvalidInputError: DICOM cannot hold them, or they contradict each other.
    """
    if not form.is_valid():
        problems = " ".join(str(message) for found in form.errors.values() for message in found)
        raise InvalidInputError(_("Patient details: %(problems)s") % {"problems": problems}, "details-invalid")
    return PictureDetails(**form.cleaned_data)


@opens_own_transaction
@require_GET
@members_only
def session(request: MemberRequest) -> JsonResponse:
    """Whose session it is now, and its token: a page that was open meanwhile continues with them."""
    return JsonResponse({"member": str(request.membership.pk), "csrf_token": get_token(request)})


@opens_own_transaction
@require_POST
@members_only
def discard(request: MemberRequest) -> HttpResponse:
    """Discard the member's unfinished uploads."""
    count = uploads_of(request).discard_all()
    text = ngettext("One unfinished upload is discarded.", "%(count)d unfinished uploads are discarded.", count)
    messages.success(request, text % {"count": count})
    return redirect("portal:upload")


@require_GET
@members_only
@conditional_page  # inside: it sets no ETag on what members_only marks as not to be stored
def today(request: MemberRequest) -> HttpResponse:
    """What the member sent today; only the list for the page's script, and 304 where nothing changed."""
    page = min(max(whole_number(request.GET.get("page", ""), default=1), 1), LAST_PAGE)
    record_once(action=AuditEvent.Action.STUDIES_SEARCHED, by=actor_of(request), operation="portal:sent-today")
    template = "portal/_sent_today.html" if "X-Fragment" in request.headers else "portal/sent_today.html"
    response = render(request, template, {"sent": sent_today(user_id=request.membership.user_id, page=page)})
    response["Vary"] = "X-Fragment"
    return response


def uploads_of(request: MemberRequest) -> PartialUploads:
    """The member's unfinished uploads."""
    return PartialUploads(tenant_id=request.tenant.id, user_id=request.membership.user_id)


def _page(request: MemberRequest, outcomes: list[UploadOutcome]) -> HttpResponse:
    uploads = uploads_of(request)
    context: dict[str, Any] = {
        "outcomes": outcomes,
        "max_upload_bytes": settings.MAX_UPLOAD_BYTES,
        "max_upload_mib": settings.MAX_UPLOAD_BYTES // 2**20,
        "unfinished_count": len(uploads.unfinished()),
        "unfinished_mb": uploads.arrived_bytes() / 1e6,
    }
    with tenant_tx(request.tenant.id):
        record_once(action=AuditEvent.Action.STUDIES_SEARCHED, by=actor_of(request), operation="portal:sent-today")
        context["sent"] = sent_today(user_id=request.membership.user_id)
        return render(request, "portal/upload.html", context)
