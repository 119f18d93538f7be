"""Hospital settings, Rules: what would happen to an object, by upload or by SOP Instance UID. It stores nothing."""

from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import ChecxrayError, InvalidInputError, NotFoundError
from apps.ingest.explanation import Explanation, explain, explain_refusal
from apps.ingest.intake import inspect_file
from apps.ingest.secondary_capture import wrap_picture
from apps.portal.access import MemberRequest, members_only
from apps.portal.upload_files import PICTURES
from apps.registry import engine
from apps.routing.peer_fields import clean_ae_title
from apps.routing.rule_selectors import intake_policy
from apps.studies.models import Instance
from apps.studies.spool import Spool, SpooledFile, open_spool
from apps.studies.storage import local_path
from apps.studies.uploads import SpoolUploadHandler, announced_length
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import Role
from apps.tenants.scope import tenant_tx
from apps.tenants.services import require_role

FIELD = "file"


class ObjectForm(forms.Form):
    """The object, and how it would be sent; the file itself is streamed into the spool."""

    sop_instance_uid = forms.CharField(
        label=gettext_lazy("SOP Instance UID"),
        required=False,
        max_length=64,
        help_text=gettext_lazy("Of an object that is stored here."),
    )
    calling_ae_title = forms.CharField(
        label=gettext_lazy("Calling AE title"),
        required=False,
        max_length=16,
        help_text=gettext_lazy("As if this peer had sent it by C-STORE. Empty: sent by STOW-RS or uploaded."),
    )

    def clean_calling_ae_title(self) -> str:
        title: str = self.cleaned_data["calling_ae_title"]
        return clean_ae_title(title) if title else ""


@opens_own_transaction
@csrf_exempt  # until the streaming handler is in place: _tested checks the token
@require_http_methods(["GET", "POST"])
@members_only
def rules_test(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    if request.method == "GET":
        return _page(request, ObjectForm())
    with open_spool(announced_length(request) or 0) as spool:
        limit = settings.MAX_INSTANCE_BYTES
        handler = SpoolUploadHandler(request, spool, limit=limit, field=FIELD, most=1)
        request.upload_handlers = [handler]
        return _tested(request, spool, handler)


@csrf_protect
def _tested(request: MemberRequest, spool: Spool, handler: SpoolUploadHandler) -> HttpResponse:
    form = ObjectForm(request.POST)
    if not form.is_valid():
        return _page(request, form)
    try:
        if handler.error is not None:
            raise handler.error
        sent = handler.received[0].spooled if handler.received else None
        explanation = _explained(request, spool, sent, form.cleaned_data)
    except ChecxrayError as error:
        form.add_error(None, error.detail)
        return _page(request, form)
    return _page(request, form, explanation)


def _explained(request: MemberRequest, spool: Spool, sent: SpooledFile | None, data: dict[str, Any]) -> Explanation:
    uid = data["sop_instance_uid"].strip()
    if (sent is None) == (not uid):
        raise InvalidInputError(_("Choose a file, or enter the SOP Instance UID of a stored object."), "no-object")
    try:
        found = _inspected(request, spool, sent) if sent is not None else _stored(request, uid)
    except InvalidInputError as error:
        return explain_refusal(error)
    with tenant_tx(request.tenant.id):
        return explain(intake_policy(), found, data["calling_ae_title"])


def _inspected(request: MemberRequest, spool: Spool, sent: SpooledFile) -> engine.Preflight:
    inspected = inspect_file(sent)
    if inspected.found.kind in PICTURES:
        inspected = inspect_file(wrap_picture(spooled=sent, spool=spool, tenant=request.tenant))
    return inspected.found


def _stored(request: MemberRequest, sop_instance_uid: str) -> engine.Preflight:
    """The attributes of a stored object, which are more than its row has."""
    with tenant_tx(request.tenant.id):
        instance = Instance.objects.select_related("series").filter(sop_instance_uid=sop_instance_uid).first()
        if instance is None:
            raise NotFoundError(_("This hospital has no object with that SOP Instance UID."), "instance-not-found")
        record(
            action=AuditEvent.Action.STUDY_VIEWED,
            by=actor_of(request),
            object_id=instance.series.study_id,
            operation="portal:rules-test",
        )
    with local_path(instance.object_key) as path:
        try:
            return engine.inspect(path)
        except engine.InputRejected as error:
            raise InvalidInputError(error.detail, error.code) from error


def _page(request: MemberRequest, form: ObjectForm, explanation: Explanation | None = None) -> HttpResponse:
    with tenant_tx(request.tenant.id):
        page = {"form": form, "explanation": explanation, "policy": intake_policy(), "field": FIELD}
        return render(request, "portal/settings/rules_test.html", page)
