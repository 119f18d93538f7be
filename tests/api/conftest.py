from typing import Any

import pytest

from tests.results import read, uid_of, version

__all__ = ["read", "uid_of", "version"]


@pytest.fixture
def serving(starter: Any) -> Any:
    """The shipped version, loaded: its first export may outlast a caller's patience on a busy machine."""
    from apps.inference.serving import version_cache

    version_cache().request(starter).result(240)
    return starter
