"""Challengers in the console: started, changed, confirmed, ended, and compared without naming a patient."""

from collections.abc import Callable
from typing import Any

from django.test import Client
from django.urls import reverse

from apps.audit.services import Actor
from apps.deployment.models import Activation, ActivationRequest, Challenger
from apps.deployment.selectors import challenger_for
from apps.deployment.services import challenge
from apps.registry.models import ModelVersion
from tests.admin.console_views import console_views
from tests.trials.pairs import read_by_both


def test_a_trial_from_its_start_to_its_end(
    operator: Client, north: Any, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    second = pair[1]
    page = operator.get(reverse("admin:registry_modelversion_change", args=[second.pk])).content.decode()
    start = reverse("admin:deployment_challenger_start", args=[second.pk])
    assert start in page
    given = {"tenant": str(north.tenant.pk), "keeps_points": "on", "reason": "Trial."}
    assert b"Give the share" in operator.post(start, given | {"mode": "canary"}).content
    assert b"Give the share" in operator.post(start, given | {"mode": "shadow", "percent": "5"}).content
    assert operator.post(start, given | {"mode": "shadow"}).status_code == 302
    assert b"under way already" in operator.post(start, given | {"mode": "shadow"}).content
    assert operator.post(start, given | {"mode": "canary", "percent": "10"}).status_code == 302
    row = challenger_for(north.tenant.pk)
    assert row is not None
    assert (row.percent, row.reason) == (10, "Trial.")

    listed = operator.get(reverse("admin:deployment_challenger_changelist")).content.decode()
    assert "canary, 10 %" in listed
    assert "Under way" in listed
    end = reverse("admin:deployment_challenger_end", args=[row.pk])
    shown = operator.get(reverse("admin:deployment_challenger_change", args=[row.pk])).content.decode()
    assert end in shown
    assert operator.post(end, {"reason": "Enough."}).status_code == 302
    assert challenger_for(north.tenant.pk) is None
    assert end not in operator.get(reverse("admin:deployment_challenger_change", args=[row.pk])).content.decode()
    assert operator.post(end, {"reason": "Again."}).status_code == 404
    ledger = operator.get(reverse("admin:deployment_activation_changelist")).content.decode()
    for text in ("Shadow started", "Canary started or changed", "Challenger ended", "Enough."):
        assert text in ledger
    assert [line.act for line in Activation.objects.all()[:3]] == ["challenge-ended", "canary", "shadow"]


def test_a_canary_waits_for_a_second_operator(
    operator: Client,
    operator_named: Callable[[str], Client],
    north: Any,
    pair: tuple[ModelVersion, ModelVersion],
    settings: Any,
) -> None:
    settings.ACTIVATION_NEEDS_SECOND_APPROVER = True
    start = reverse("admin:deployment_challenger_start", args=[pair[1].pk])
    given = {"mode": "canary", "percent": "10", "keeps_points": "on", "reason": "Trial."}
    assert operator.post(start, given).status_code == 302
    assert challenger_for(north.tenant.pk) is None
    asked = ActivationRequest.objects.get()
    confirm = reverse("admin:deployment_activationrequest_confirm", args=[asked.pk])
    assert b"as canary, 10 %" in operator.get(confirm).content
    done = operator_named("two").post(confirm, follow=True)
    assert b"canary started or changed" in done.content
    assert challenger_for(north.tenant.pk) is not None


def test_the_disagreement_is_counted_over_all_hospitals_and_shows_ids_alone(
    operator: Client, north: Any, south: Any, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    challenge(version=pair[1], by=Actor(name="test"))
    row = Challenger.objects.select_related("model_version", "against").get()
    address = reverse("admin:deployment_challenger_disagreement", args=[row.pk])
    assert "100 more studies" in operator.get(address).content.decode()
    northern = read_by_both(north, row, [({"Mass": 0.9}, {"Mass": 0.1})] + [({}, {})] * 59)
    southern = read_by_both(south, row, [({}, {"Edema": 0.4})] + [({}, {})] * 59)
    page = operator.get(address).content.decode()
    assert "120 studies read by both, 2 with a disagreement" in page
    assert "North Hospital: 1 study" in page
    for study in (northern[0], southern[0]):
        assert str(study.pk) in page
        assert study.study_instance_uid not in page
    assert str(northern[1].pk) not in page
    assert "CANARY" not in page
    for hospital in (north, south):
        assert console_views(hospital.tenant) == ["admin:deployment_challenger_disagreement"]
    only = operator.get(address, {"label": "Edema"}).content.decode()
    assert str(southern[0].pk) in only
    assert str(northern[0].pk) not in only


def test_the_pages_are_for_operators_only(north: Any, pair: tuple[ModelVersion, ModelVersion], sign_in: Any) -> None:
    challenge(version=pair[1], by=Actor(name="test"))
    row = Challenger.objects.get()
    for name, argument in (("disagreement", row.pk), ("end", row.pk), ("start", pair[1].pk)):
        address = reverse(f"admin:deployment_challenger_{name}", args=[argument])
        assert sign_in(north, north.admin).get(address).status_code == 302
