"""`manage.py offer_model` does the same as the console's page of offers."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.audit.services import Actor
from apps.deployment.models import Offer
from apps.deployment.selectors import nameable_versions
from apps.deployment.services import activate, retire
from tests.registry.versions import registered


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("offer_model", *arguments, stdout=output)
    return output.getvalue()


def test_an_offer_from_the_command_line_and_its_end(north: Any, south: Any) -> None:
    serving, candidate = registered(1), registered(2)
    activate(version=serving, by=Actor(name="test"))
    for _ in range(2):
        assert run("chest-net:2", "--tenant", "north") == f"chest-net:2 may be named ({north.tenant}).\n"
    assert Offer.objects.get().actor.startswith("cli:")
    assert candidate in nameable_versions(north.tenant.pk)
    assert candidate not in nameable_versions(south.tenant.pk)
    with pytest.raises(CommandError, match="not offered to whole platform"):
        run("chest-net:2", "--withdraw")
    assert "may be named (whole platform)" in run("chest-net:2")
    assert candidate in nameable_versions(south.tenant.pk)
    assert "is offered no more" in run("chest-net:2", "--withdraw")
    run("chest-net:2", "--withdraw", "--tenant", "north")
    assert candidate not in nameable_versions(north.tenant.pk)


def test_refused_offers_give_the_reason(north: Any) -> None:
    retire(version=registered(1), by=Actor(name="test"))
    with pytest.raises(CommandError, match="chest-net:1 is retired"):
        run("chest-net:1")
    with pytest.raises(CommandError, match="Registered: chest-net:1"):
        run("chest-net:3")
    with pytest.raises(CommandError, match="nowhere"):
        run("chest-net:1", "--tenant", "nowhere")
    assert not Offer.objects.exists()
