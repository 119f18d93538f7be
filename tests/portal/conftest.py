"""Read studies, as the reports' tests make them."""

from tests.reports.conftest import finish, read_study, version

__all__ = ["finish", "read_study", "version"]
