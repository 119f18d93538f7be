"""Console pages of evaluation sets, evaluations and evaluation jobs."""

from apps.evaluation.admin.evaluations import EvaluationAdmin
from apps.evaluation.admin.sets import EvaluationJobAdmin, EvaluationSetAdmin

__all__ = ["EvaluationAdmin", "EvaluationJobAdmin", "EvaluationSetAdmin"]
