from tests.results import read, version
from tests.roles.callers import world

__all__ = ["read", "version", "world"]
