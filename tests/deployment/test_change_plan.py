"""The change plan: its default, the operator's versions of it, and the ledger entries that cite it."""

from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.deployment.change_plan import PARTS, current_plan, render_plan_pdf
from apps.deployment.models import Activation, ChangePlan
from apps.deployment.services import activate, roll_back
from apps.registry.models import ModelVersion
from tests.conftest import PASSWORD
from tests.reports.reading import opened, text_of


def cited() -> list[int | None]:
    return [each.change_plan.number if each.change_plan else None for each in Activation.objects.order_by("number")]


def test_each_activation_cites_the_plan_that_was_in_force(first: ModelVersion, second: ModelVersion) -> None:
    operator = Client()
    operator.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    add, listed = reverse("admin:deployment_changeplan_add"), reverse("admin:deployment_changeplan_changelist")
    assert b"Change plan 1" in operator.get(listed).content
    assert b"Not allowed under this plan" in operator.get(add).content
    texts = {name: getattr(current_plan(), name) for name in PARTS}
    assert b"Nothing differs" in operator.post(add, {**texts, "reason": "?"}).content
    assert b"This field is required" in operator.post(add, {**texts, "rollback": "", "reason": "x"}).content
    assert operator.post(add, {**texts, "rollback": "By night too.", "reason": "Night."}).status_code == 302
    activate(version=second, by=Actor(name="test"))
    roll_back(by=Actor(name="test"))
    assert cited() == [1, 2, 2]
    plan = current_plan()
    assert (plan.number, plan.rollback, plan.reason) == (2, "By night too.", "Night.")
    assert ChangePlan.objects.get(number=1).rollback == texts["rollback"]
    shown = operator.get(reverse("admin:deployment_changeplan_change", args=[plan.pk])).content.decode()
    assert "By night too." in shown
    assert "_save" not in shown
    assert operator.get(reverse("admin:deployment_changeplan_pdf", args=[plan.pk])).status_code == 200
    with pytest.raises(DatabaseError), transaction.atomic():
        ChangePlan.objects.update(rollback="No.")


def test_a_hospital_reads_the_plan_as_page_and_document(north: Any, sign_in: Any) -> None:
    admin = sign_in(north, north.admin)
    page = admin.get(reverse("portal:change-plan")).content.decode()
    for text in ("Change plan 1", "Acceptance limits", "Impact assessment", "GATE_DELTA", "-0.020"):
        assert text in page, text
    pdf = admin.get(reverse("portal:change-plan-pdf"))
    assert pdf["Content-Type"] == "application/pdf"
    text = " ".join(text_of(opened(render_plan_pdf(current_plan()))).split())
    for expected in ("Change plan 1", "Rollback", "Not for diagnostic use", "Allowed changes"):
        assert expected in text, expected
    radiologist = sign_in(north, north.radiologist)
    assert radiologist.get(reverse("portal:change-plan")).status_code == 403
    assert radiologist.get(reverse("portal:change-plan-pdf")).status_code == 403
