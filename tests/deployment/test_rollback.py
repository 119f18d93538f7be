"""Rollbacks of a tenant's operating points, alone and between activations."""

from typing import Any

import pytest

from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.deployment.models import OperatingPoint
from apps.deployment.points import PointChoice
from apps.deployment.selectors import deployments, thresholds_for, version_for
from apps.deployment.services import activate, roll_back, set_points, unpin
from apps.registry.models import ModelVersion
from tests.registry.versions import registered


def choose(hospital: Any, version: ModelVersion, choice: PointChoice) -> None:
    set_points(tenant=hospital.tenant, version=version, choices={"Mass": choice}, recent={}, by=Actor(name="test"))


def test_a_change_of_points_is_rolled_back_too(north: Any, first: ModelVersion) -> None:
    activate(version=first, by=Actor(name="test"), tenant=north.tenant)
    choose(north, first, PointChoice("sensitivity", 0.8))
    choose(north, first, PointChoice("specificity", 0.9))
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert thresholds_for(first, north.tenant.pk)["Mass"] == 0.4
    assert north.tenant.pk in deployments()
    # Another rollback undoes the change before it, and then the pin.
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert thresholds_for(first, north.tenant.pk)["Mass"] == 0.5
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert north.tenant.pk not in deployments()


def test_points_of_a_version_out_of_service_do_not_prevent_a_rollback(
    north: Any, first: ModelVersion, second: ModelVersion
) -> None:
    activate(version=second, by=Actor(name="test"), tenant=north.tenant)
    unpin(by=Actor(name="test"), tenant=north.tenant)
    choose(north, first, PointChoice("sensitivity", 0.8))
    activate(version=registered(3), by=Actor(name="test"))
    entry = roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert (entry.undoes and entry.undoes.act, version_for(north.tenant.pk)) == ("unpinned", second)
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert version_for(north.tenant.pk) == first, (
        "The former version reads again, although the platform has another one."
    )
    with pytest.raises(ConflictError, match="no earlier version to roll back to"):
        roll_back(by=Actor(name="test"), tenant=north.tenant)


def test_an_unchanged_point_keeps_its_author(north: Any, first: ModelVersion, second: ModelVersion) -> None:
    choose(north, first, PointChoice("sensitivity", 0.8))
    activate(version=second, by=Actor(name="another"))
    roll_back(by=Actor(name="another"))
    assert OperatingPoint.objects.get(model_version=first).actor == "test"
