"""Studies that were read and signed, from the fixtures of the reports' tests."""

from tests.reports.conftest import finish, read_study, version

__all__ = ["finish", "read_study", "version"]
