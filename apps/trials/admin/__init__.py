"""Console pages that count readings: they show numbers and ids of studies, and no patient."""

from apps.trials.admin.challengers import ChallengerAdmin
from apps.trials.admin.points import OperatingPointAdmin

__all__ = ["ChallengerAdmin", "OperatingPointAdmin"]
