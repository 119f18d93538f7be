"""A candidate is offered to a hospital in the console, and the offer is withdrawn."""

from typing import Any

from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from apps.deployment.models import Offer
from apps.deployment.selectors import nameable_versions
from apps.registry.models import ModelVersion

ADD = reverse("admin:deployment_offer_add")


def test_an_offer_is_made_once_and_taken_back(
    operator: Client, north: Any, south: Any, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    candidate = pair[1]
    form = {"model_version": candidate.pk, "for_tenant": north.tenant.pk}
    assert operator.post(ADD, form).status_code == 302
    offer = Offer.objects.get()

    assert offer.actor.startswith("user:")
    assert candidate in nameable_versions(north.tenant.pk)
    assert candidate not in nameable_versions(south.tenant.pk)
    assert b"already exists" in operator.post(ADD, form).content
    assert operator.post(reverse("admin:deployment_offer_delete", args=[offer.pk]), {"post": "yes"}).status_code == 302
    assert candidate not in nameable_versions(north.tenant.pk)
    assert LogEntry.objects.filter(object_id=str(offer.pk)).count() == 2


def test_a_retired_version_cannot_be_offered(operator: Client, pair: tuple[ModelVersion, ModelVersion]) -> None:
    operator.post(reverse("admin:registry_modelversion_retire", args=[pair[1].pk]), {"reason": "Old."})
    refused = operator.post(ADD, {"model_version": pair[1].pk, "for_tenant": ""})
    assert b"Select a valid choice" in refused.content
    assert not Offer.objects.exists()
