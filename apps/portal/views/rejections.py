"""The views that reject an image of a study and withdraw a rejection."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from apps.inference.rejections import MAY_REJECT, reject_image, withdraw_rejection
from apps.portal.access import MemberRequest, members_only
from apps.studies.selectors import get_study_by_id
from apps.tenants.services import require_role


@require_POST
@members_only
def reject(request: MemberRequest, pk: UUID) -> HttpResponse:
    require_role(request.membership, *MAY_REJECT)
    reject_image(
        study=get_study_by_id(pk),
        sop_instance_uid=request.POST.get("image", ""),
        code=request.POST.get("code", ""),
        reason=request.POST.get("reason", ""),
        user=request.user,
        membership=request.membership,
    )
    messages.success(request, _("The image is rejected. It is not read any more."))
    return redirect("portal:study", pk=pk)


@require_POST
@members_only
def restore(request: MemberRequest, pk: UUID) -> HttpResponse:
    require_role(request.membership, *MAY_REJECT)
    withdraw_rejection(
        study=get_study_by_id(pk),
        sop_instance_uid=request.POST.get("image", ""),
        user=request.user,
        membership=request.membership,
    )
    messages.success(request, _("The rejection is withdrawn."))
    return redirect("portal:study", pk=pk)
