"""A tenant's rules: what they match, how they change, and what they do to arriving objects."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.audit.services import user_actor
from apps.core.errors import ChecxrayError, ConflictError, NotPermittedError, RefusedByRuleError
from apps.core.identifiers import uuid7
from apps.inference.models import InferenceJob, Priority
from apps.routing import rule_services as services
from apps.routing.rule_models import IntakePolicy, RuleMatch, RuleRefusals
from apps.routing.rule_selectors import intake_policy, rule_counts
from apps.routing.rules import Rule, first_match, fits
from apps.studies.models import Instance
from apps.studies.storage import object_store
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_membership
from tests.conftest import Hospital
from tests.studies import objects


def editor(hospital: Hospital, user: Any = None, number: int | None = None) -> services.Editor:
    user = user or hospital.admin
    membership = find_membership(tenant_id=hospital.tenant.id, user_id=user.pk)
    return services.Editor(membership, user_actor(user.pk), intake_policy().number if number is None else number)


def add(hospital: Hospital, name: str, action: str, priority: int | None = None, **conditions: str) -> Rule:
    with tenant_tx(hospital.tenant.id):
        values = services.RuleValues(name, conditions, action, priority)
        return services.add_rule(values, editor=editor(hospital))


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ("DX", "DX", True),
        ("dx, CR", "cr ", True),
        ("DX", "DXX", False),
        ("CHEST*", "Chest  PA", True),
        ("*pa", "CHEST PA", True),
        ("A?", "AP", True),
        ("A?", "A", False),
        ("?*", "", False),
        ("*", "", True),
        ("thörax", "THO\u0308RAX", True),
        ("SECONDARY", "DERIVED\\SECONDARY", True),
        ("[AP]", "A", False),
        ("a*b*c", "aXbYbZc", True),
    ],
)
def test_patterns(wanted: str, found: str, expected: bool) -> None:
    assert fits(wanted, found) is expected


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    started = time.perf_counter()
    assert not fits("*a" * 150 + "b", "a" * 1024)
    assert time.perf_counter() - started < 1


def test_the_first_enabled_rule_decides() -> None:
    rules = [
        Rule(uuid7(), "off", {}, "refuse", is_enabled=False),
        Rule(uuid7(), "both", {"Modality": "DX", "StationName": "ROOM?"}, "store"),
        Rule(uuid7(), "rest", {}, "read"),
    ]
    assert first_match(rules, {"Modality": "DX", "StationName": "ROOM1"}) is rules[1]
    assert first_match(rules, {"Modality": "DX", "StationName": "WARD"}) is rules[2]
    assert first_match(rules[:2], {"Modality": "CR", "StationName": "ROOM1"}) is None


def test_every_change_is_a_version_that_can_be_restored(north: Hospital, south: Hospital) -> None:
    first = add(north, "first", "read", Priority.STAT, StationName="ER*")
    second = add(north, "second", "refuse", Modality="OT")
    with tenant_tx(north.tenant.id):
        services.move_rule(second.id, -1, editor=editor(north))
        services.switch_rule(first.id, is_enabled=False, editor=editor(north))
        assert [(each.name, each.is_enabled) for each in intake_policy().own_rules] == [
            ("second", True),
            ("first", False),
        ]
        with pytest.raises(ConflictError):
            services.remove_rule(first.id, editor=editor(north, number=1))
        services.remove_rule(second.id, editor=editor(north))
        services.restore_policy(2, editor=editor(north))
        assert [each.name for each in intake_policy().own_rules] == ["first", "second"]
        assert intake_policy().restored_from == 2
        assert IntakePolicy.objects.count() == 6
        assert AuditEvent.objects.filter(action="rules.changed", user=north.admin).count() == 6
        with pytest.raises(NotPermittedError):
            services.restore_policy(0, editor=editor(north, north.radiologist))
        services.restore_policy(0, editor=editor(north))
        assert intake_policy().own_rules == ()
    with tenant_tx(south.tenant.id):
        assert intake_policy().number == 0
        with pytest.raises(ChecxrayError):
            services.restore_policy(2, editor=editor(south))


def test_rules_decide_about_arriving_objects(north: Hospital, south: Hospital, send: Callable[..., Any]) -> None:
    refusing = add(north, "No phantoms", "refuse", StationName="QA*, TEST")
    keeping = add(north, "Wards", "store", StudyDescription="*ward*")
    add(north, "Emergency", "read", Priority.STAT, StationName="er")
    refused = objects.image("1.2.3.1", StationName="qa 7")
    with pytest.raises(RefusedByRuleError, match="No phantoms"):
        send(north, refused)
    with pytest.raises(RefusedByRuleError):
        send(north, refused)
    assert list(object_store().entries(f"t/{north.tenant.id}")) == []
    assert send(south, refused).is_new
    assert send(north, objects.image("1.2.3.2", StudyDescription="Chest, ward 3", StationName="ER")).is_stored_only
    assert send(north, objects.image("1.2.3.3", StationName="ER")).is_new
    assert send(north, objects.image("1.2.3.4")).is_new
    with tenant_tx(north.tenant.id):
        assert Instance.objects.count() == 3
        assert not Instance.objects.filter(series__study__study_instance_uid="1.2.3.1").exists()
        counts = rule_counts()
        refusals = counts[refusing.id].refusals
        assert refusals is not None
        assert refusals.amount == 2
        assert counts[keeping.id].kept_back == 1
        assert AuditEvent.objects.filter(action="object.refused", object_id=refusing.id, outcome=4).count() == 2
        jobs = InferenceJob.objects.values_list("study__study_instance_uid", "priority")
        assert dict(jobs) == {"1.2.3.2": 0, "1.2.3.3": Priority.STAT, "1.2.3.4": 0}
    with tenant_tx(south.tenant.id):
        assert not RuleRefusals.objects.exists()
        assert not RuleMatch.objects.exists()
