"""The console's pages that count what was read: numbers and ids of studies, and no patient."""

from apps.trials.admin.challengers import ChallengerAdmin
from apps.trials.admin.points import OperatingPointAdmin

__all__ = ["ChallengerAdmin", "OperatingPointAdmin"]
