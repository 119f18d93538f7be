from collections.abc import Callable

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.deployment.services import activate
from apps.registry.models import ModelVersion
from tests.conftest import PASSWORD
from tests.registry.versions import registered
from tests.results import read, uid_of, version

__all__ = ["read", "uid_of", "version"]


@pytest.fixture
def operator_named(db: None) -> Callable[[str], Client]:
    """The console, as an operator of this name has it before them."""

    def signed_in(name: str) -> Client:
        client = Client()
        client.force_login(User.objects.create_user(f"{name}@platform.example", PASSWORD, is_staff=True))
        return client

    return signed_in


@pytest.fixture
def operator(operator_named: Callable[[str], Client]) -> Client:
    return operator_named("operator")


@pytest.fixture
def pair(db: None) -> tuple[ModelVersion, ModelVersion]:
    """The version in service, and another one."""
    first = registered(1)
    activate(version=first, by=Actor(name="test"))
    return first, registered(2, scale=0.5)
