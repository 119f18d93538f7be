"""The console's home page: what serves whom, what needs attention, and the tables grouped by task."""

from typing import Any

from django.contrib import admin
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from apps.audit.services import Actor
from apps.deployment.services import activate, roll_back
from apps.deployment.services.stops import stop_ai
from apps.inference.models import Worker
from apps.portal.console.site import TASKS
from tests.registry.versions import registered


def home(operator: Client) -> str:
    return operator.get(reverse("admin:index")).content.decode()


def test_every_table_belongs_to_one_task(operator: Client) -> None:
    named = [name for names in TASKS.values() for name in names]
    assert sorted(named) == sorted(model.__name__ for model in admin.site._registry)
    assert [task for task in TASKS if f">{task}</h3>" in home(operator)] == list(TASKS)


def test_an_empty_platform_says_what_is_missing(operator: Client) -> None:
    page = home(operator)
    assert "No version is in service: nothing is read. Activate one." in page
    assert "No inference worker reports" in page


def test_home_names_what_serves_whom_and_what_a_rollback_brings_back(operator: Client, north: Any, south: Any) -> None:
    first, second = registered(1), registered(2, scale=0.5)
    activate(version=first, by=Actor(name="test"))
    Worker.objects.create(name="gpu-1", device="H200", model_version=first, last_seen=Now())
    assert "Nothing to roll back to" in home(operator)
    activate(version=second, by=Actor(name="test"), tenant=north.tenant)
    page = home(operator)
    assert "The platform (1 tenant)" in page
    assert f"Back to {first}" in page
    assert "gpu-1" in page
    question = operator.get(reverse("admin:deployment_deployment_roll_back"), {"tenant": "north"}).content.decode()
    assert f"Back to {first}" in question
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert "The platform (2 tenants)" in home(operator)


def test_what_needs_attention_is_listed_until_it_is_seen_to(operator: Client, north: Any, version: Any) -> None:
    Worker.objects.create(name="gpu-1", device="H200", model_version=version, last_seen=Now())
    assert "<p>Nothing.</p>" in home(operator)
    stop_ai(tenant=north.tenant, by=Actor(name="test"), reason="Wrong films.")
    Worker.objects.update(versions=[{"version": "other:1", "state": "refused"}])
    page = home(operator)
    assert "The AI, or a finding, is stopped: 1." in page
    assert "Workers that cannot load a version that they need: 1." in page
    assert "<p>Nothing.</p>" not in page
