"""The console's pages of evaluation sets and of what was measured."""

from apps.evaluation.admin.evaluations import EvaluationAdmin
from apps.evaluation.admin.sets import EvaluationJobAdmin, EvaluationSetAdmin

__all__ = ["EvaluationAdmin", "EvaluationJobAdmin", "EvaluationSetAdmin"]
