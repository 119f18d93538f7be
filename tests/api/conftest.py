from tests.results import read, uid_of, version

__all__ = ["read", "uid_of", "version"]
