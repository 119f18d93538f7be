"""Activations in the console: pinned, confirmed by a second operator, retired, and listed in the ledger."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.audit.services import Actor
from apps.deployment.models import Activation, ActivationRequest
from apps.deployment.points import PointChoice
from apps.deployment.selectors import thresholds_for, version_for
from apps.deployment.services import activate, set_points
from apps.registry.models import ModelVersion
from tests.registry.versions import registered

SWITCH = {"reason": "Better.", "why_no_preview": "No study yet."}


def test_a_tenants_points_are_carried_over_and_listed_in_the_ledger(
    operator: Client, north: Any, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    first, second = pair
    set_points(
        tenant=north.tenant,
        version=first,
        choices={"Mass": PointChoice("sensitivity", 0.8)},
        recent={},
        by=Actor(name="test"),
    )
    address = reverse("admin:registry_modelversion_activate", args=[second.pk])
    assert operator.post(address, {"keeps_points": "on", **SWITCH}).status_code == 302
    assert thresholds_for(second, north.tenant.pk)["Mass"] == pytest.approx(0.2)

    entry = Activation.objects.first()
    assert entry is not None
    page = operator.get(reverse("admin:deployment_activation_change", args=[entry.pk])).content.decode()
    assert "0.400 (fixed sensitivity 0.80)" in page
    assert "0.200 (fixed sensitivity 0.80)" in page


def test_the_form_names_a_choice_that_cannot_be_kept(
    operator: Client, north: Any, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    first, second = pair
    by_hand = PointChoice("manual", value=0.3, reason="As before.")
    set_points(tenant=north.tenant, version=first, choices={"Mass": by_hand}, recent={}, by=Actor(name="test"))
    address = reverse("admin:registry_modelversion_activate", args=[second.pk])
    refused = operator.post(address, {"keeps_points": "on", **SWITCH})
    assert b"preview_switch chest-net:2 --tenant north" in refused.content
    assert operator.post(address, {**SWITCH}).status_code == 302
    assert thresholds_for(second, north.tenant.pk)["Mass"] == 0.25


def test_a_second_operator_confirms_in_the_console(
    operator: Client,
    operator_named: Callable[[str], Client],
    north: Any,
    pair: tuple[ModelVersion, ModelVersion],
    settings: Any,
) -> None:
    settings.ACTIVATION_NEEDS_SECOND_APPROVER = True
    first, second = pair
    address = reverse("admin:registry_modelversion_activate", args=[second.pk])
    assert operator.post(address, {"keeps_points": "on", **SWITCH}).status_code == 302
    asked = ActivationRequest.objects.get()
    confirm = reverse("admin:deployment_activationrequest_confirm", args=[asked.pk])
    page = reverse("admin:deployment_activationrequest_change", args=[asked.pk])
    assert confirm in operator.get(page).content.decode()
    assert b"A second operator must confirm" in operator.post(confirm).content
    assert version_for(north.tenant.pk) == first

    other = operator_named("two")
    listed = other.get(reverse("admin:deployment_activationrequest_changelist")).content.decode()
    assert str(asked.by) in listed
    shown = other.get(confirm).content
    assert b"Better." in shown
    assert b"Release gates" in shown
    assert b"What would change" in shown
    assert other.post(confirm).status_code == 302
    assert version_for(north.tenant.pk) == second
    assert confirm not in operator.get(page).content.decode()
    withdraw = reverse("admin:deployment_activationrequest_withdraw", args=[asked.pk])
    assert b"confirmed already" in other.post(withdraw).content


def test_a_request_is_withdrawn(operator: Client, pair: tuple[ModelVersion, ModelVersion], settings: Any) -> None:
    settings.ACTIVATION_NEEDS_SECOND_APPROVER = True
    address = reverse("admin:registry_modelversion_activate", args=[pair[1].pk])
    operator.post(address, {"keeps_points": "on", **SWITCH})
    asked = ActivationRequest.objects.get()
    withdraw = reverse("admin:deployment_activationrequest_withdraw", args=[asked.pk])
    assert operator.get(withdraw).status_code == 200
    assert operator.post(withdraw).status_code == 302
    listed = operator.get(reverse("admin:deployment_activationrequest_changelist")).content.decode()
    assert "Withdrawn" in listed


def test_a_version_is_retired(operator: Client, pair: tuple[ModelVersion, ModelVersion]) -> None:
    first, second = pair
    page = reverse("admin:registry_modelversion_change", args=[second.pk])
    retire = reverse("admin:registry_modelversion_retire", args=[second.pk])
    assert "Candidate" in operator.get(page).content.decode()
    serving = operator.post(reverse("admin:registry_modelversion_retire", args=[first.pk]), {"reason": "Old."})
    assert b"is in service" in serving.content
    assert operator.post(retire, {"reason": "Never worked."}).status_code == 302
    shown = operator.get(page).content.decode()
    assert "Retired" in shown
    assert retire not in shown
    activate_at = reverse("admin:registry_modelversion_activate", args=[second.pk])
    assert b"is retired" in operator.post(activate_at, {"reason": "Again."}).content


def test_what_a_button_does_stands_above_it(
    operator: Client, north: Any, south: Any, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    first, second = pair
    by_hand = PointChoice("manual", value=0.3, reason="As before.")
    set_points(tenant=north.tenant, version=first, choices={"Mass": by_hand}, recent={}, by=Actor(name="test"))
    activate(version=second, tenant=south.tenant, by=Actor(name="test"), reason="Portable films.", despite_gate=True)
    third = registered(3)
    for address, effects in (
        (
            reverse("admin:registry_modelversion_activate", args=[third.pk]),
            [
                ": North Hospital",
                "chest-net:1",
                "South",
                "no preview of this switch yet",
                "Floor: 1 of 2 passed",
            ],
        ),
        (reverse("admin:deployment_challenger_start", args=[third.pk]), ["platform", "On trial now", "Floor: "]),
        (reverse("admin:deployment_deployment_roll_back") + "?tenant=south", ["Portable films.", "chest-net:2"]),
        (reverse("admin:deployment_deployment_roll_back") + "?tenant=north", ["0.300 (", "No change"]),
        (reverse("admin:deployment_deployment_unpin", args=["south"]), ["chest-net:2", "After the change"]),
    ):
        page = operator.get(address).content.decode()
        above = page[: page.index("The ledger keeps this reason permanently.")]
        for effect in effects:
            assert effect in above, (address, effect)
    nothing = operator.get(reverse("admin:deployment_deployment_roll_back")).content.decode()
    assert "There is no earlier version to roll back to." in nothing
    assert "Candidate" in operator.get(reverse("admin:deployment_offer_add")).content.decode()
