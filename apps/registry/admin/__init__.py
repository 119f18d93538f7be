"""The registry's pages in the operator's console."""

from apps.registry.admin.evaluations import EvaluationAdmin
from apps.registry.admin.training import TrainingRunAdmin
from apps.registry.admin.versions import ActivationAdmin, DeploymentAdmin, ModelVersionAdmin

__all__ = ["ActivationAdmin", "DeploymentAdmin", "EvaluationAdmin", "ModelVersionAdmin", "TrainingRunAdmin"]
