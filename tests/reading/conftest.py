"""Studies that were read, from the fixtures of the reports' tests."""

from tests.reports.conftest import finish, read_study, version

__all__ = ["finish", "read_study", "version"]
