"""The change plan that is in force, for administrators, as a page and as a PDF."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.core.documents import pdf_response
from apps.deployment.change_plan import current_plan, plan_sections, render_plan_pdf
from apps.portal.access import MemberRequest, members_only
from apps.tenants.models import Role
from apps.tenants.services import require_role


@require_GET
@members_only
def change_plan(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    plan = current_plan()
    return render(request, "portal/change_plan.html", {"plan": plan, "sections": plan_sections(plan)})


@require_GET
@members_only
def change_plan_pdf(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    plan = current_plan()
    return pdf_response(render_plan_pdf(plan), f"change-plan-{plan.number}.pdf")
