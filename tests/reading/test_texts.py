"""The texts that readers insert: how many there can be."""

import pytest

from apps.audit.services import Actor
from apps.core.errors import InvalidInputError
from apps.reading import services
from apps.reading.services import save_text
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital

BY = Actor(name="test")


def test_each_owner_has_a_bounded_number(north: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_TEXTS", 2)
    with tenant_tx(north.tenant.id):
        admin, reader = (Membership.objects.get(user=user) for user in (north.admin, north.radiologist))
        first, _ = (save_text(name=name, text="x", owner=None, membership=admin, by=BY) for name in ("a", "b"))
        with pytest.raises(InvalidInputError, match="the most there can be"):
            save_text(name="c", text="x", owner=None, membership=admin, by=BY)
        assert save_text(name="a", text="y", owner=None, membership=admin, by=BY, pk=first.pk).text == "y"
        save_text(name="c", text="x", owner=north.radiologist, membership=reader, by=BY)
