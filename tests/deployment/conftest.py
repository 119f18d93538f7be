"""The version in service and a candidate; no worker loads them."""

import pytest

from apps.audit.services import Actor
from apps.deployment.services import activate
from apps.registry.models import ModelVersion
from tests.registry.versions import registered


@pytest.fixture
def first(db: None) -> ModelVersion:
    version = registered(1)
    activate(version=version, by=Actor(name="test"))
    return version


@pytest.fixture
def second(first: ModelVersion) -> ModelVersion:
    return registered(2, scale=0.5)
