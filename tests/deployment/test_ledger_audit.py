"""Audit events of ledger entries in the trails of the hospitals that they concern."""

from typing import Any

import pytest
from django.db import transaction

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.deployment.services import activate, challenge, end_challenge, roll_back, unpin
from apps.tenants.scope import TenantScopeError, current_tenant_id, inside_tenant, tenant_tx
from tests.conftest import PASSWORD
from tests.registry.versions import registered


def trail(hospital: Any) -> list[str]:
    with tenant_tx(hospital.tenant.pk):
        return list(AuditEvent.objects.order_by("id").values_list("action", flat=True))


def test_each_concerned_hospital_gets_an_audit_event(north: Any, south: Any) -> None:
    first, second = registered(1), registered(2)
    operator = User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True)
    entry = activate(version=first, by=Actor(name="user:1", user_id=operator.pk), reason="For DOE^JANE")
    activate(version=second, by=Actor(name="test"), tenant=south.tenant)
    activate(version=second, by=Actor(name="test"))
    roll_back(by=Actor(name="test"))
    unpin(tenant=south.tenant, by=Actor(name="test"))
    challenge(version=second, by=Actor(name="test"))
    end_challenge(by=Actor(name="test"))

    trial = ["model.shadow", "model.challenge_ended"]
    assert trail(north) == ["model.activated", "model.activated", "model.rolled_back", *trial]
    assert trail(south) == ["model.activated", "model.activated", "model.unpinned", *trial]
    with tenant_tx(north.tenant.pk):
        event = AuditEvent.objects.earliest("id")
        assert (event.object_id, event.actor, event.user) == (entry.pk, "user:1", operator)


def test_a_failed_activation_leaves_no_audit_event(north: Any) -> None:
    first = registered(1)
    activate(version=first, by=Actor(name="test"))
    with pytest.raises(ConflictError):
        activate(version=first, by=Actor(name="test"))
    with transaction.atomic():
        activate(version=registered(2), by=Actor(name="test"))
        transaction.set_rollback(True)
    assert trail(north) == ["model.activated"]


def test_the_tenant_in_force_before_is_restored(north: Any, south: Any) -> None:
    with pytest.raises(TenantScopeError, match="No transaction"), inside_tenant(north.tenant.pk):
        pass
    with tenant_tx(north.tenant.pk):
        with inside_tenant(south.tenant.pk):
            assert current_tenant_id() == south.tenant.pk
            AuditEvent.objects.create(tenant=south.tenant, action="study.viewed", actor="test")
        assert current_tenant_id() == north.tenant.pk
        assert not AuditEvent.objects.exists()
    with transaction.atomic():
        with inside_tenant(south.tenant.pk):
            assert AuditEvent.objects.count() == 1
        assert not AuditEvent.objects.exists()
