"""The console's pages that count what was read: numbers and ids of studies, and no patient."""

from apps.reports.admin.challengers import ChallengerAdmin
from apps.reports.admin.points import OperatingPointAdmin

__all__ = ["ChallengerAdmin", "OperatingPointAdmin"]
