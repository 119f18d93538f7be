"""STOW-RS of objects about which the hospital has rules."""

from collections.abc import Callable

from apps.routing.rule_models import RuleRefusals
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.dicomweb.web import WebServer, values
from tests.routing.test_rules import add

FAILED_SOP_SEQUENCE, FAILURE_REASON, REFERENCED_SOP_SEQUENCE = "00081198", "00081197", "00081199"


def test_a_refusal_by_rule_has_its_own_failure_reason(
    web: WebServer, north: Hospital, south: Hospital, film: Callable[..., bytes]
) -> None:
    add(north, "No laterals", "refuse", ViewPosition="LL, LATERAL")
    lateral, frontal = film(1, view_position="LL"), film(2, view_position="PA")
    answer = web.stow(north.api_key, [lateral, frontal])
    assert answer.status_code == 202
    (failed,) = values(answer.json(), FAILED_SOP_SEQUENCE)
    assert values(failed, FAILURE_REASON) == [0x0124]
    assert len(values(answer.json(), REFERENCED_SOP_SEQUENCE)) == 1
    assert "refused-by-rule" in answer.headers["Warning"]
    assert web.stow(north.api_key, [lateral]).status_code == 409
    with tenant_tx(north.tenant.id):
        assert Instance.objects.count() == 1
        assert RuleRefusals.objects.get().amount == 2
    assert web.stow(south.api_key, [lateral, frontal]).status_code == 200
