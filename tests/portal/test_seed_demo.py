"""What the demo has from the start, and its API key after an upgrade: it has the scopes that the demo needs."""

import json
from typing import Any

from django.conf import settings
from django.core.management import call_command

from apps.critical.selectors import rule_lines
from apps.tenants.models import ApiClient, ApiScope, Tenant
from apps.tenants.scope import tenant_tx


def key() -> str:
    call_command("seed_demo", empty=True)
    return json.loads((settings.CHECXRAY_HOME / "demo.json").read_text())["tenants"][0]["api_key"]


def test_a_pneumothorax_is_critical_in_the_demo(db: Any) -> None:
    key()
    key()
    with tenant_tx(Tenant.objects.get(slug="south").id):
        (line,) = rule_lines()
    assert line.rule.label == "Pneumothorax"
    assert [str(each.member.user) for each in (*line.first, *line.escalation)] == ["Dr. South", "Admin South"]


def test_a_key_of_an_earlier_release_is_replaced_and_a_good_one_kept(db: Any) -> None:
    first = key()
    assert key() == first
    with tenant_tx(Tenant.objects.get(slug="north").id):
        ApiClient.objects.update(scopes=[ApiScope.STORE, ApiScope.READ])

    second = key()

    assert second != first
    assert key() == second
    with tenant_tx(Tenant.objects.get(slug="north").id):
        assert ApiScope.PREDICT in ApiClient.objects.latest("created").scopes
