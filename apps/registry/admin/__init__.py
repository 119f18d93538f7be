"""The registry's pages in the operator's console."""

from apps.registry.admin.evaluating import EvaluationJobAdmin, EvaluationSetAdmin
from apps.registry.admin.evaluations import EvaluationAdmin
from apps.registry.admin.moves import ActivationAdmin, ActivationRequestAdmin, DeploymentAdmin
from apps.registry.admin.offers import OfferAdmin
from apps.registry.admin.previews import PreviewJobAdmin, SwitchPreviewAdmin
from apps.registry.admin.training import TrainingRunAdmin
from apps.registry.admin.versions import ModelVersionAdmin
from apps.registry.admin.webhooks import ModelEventAdmin, WebhookDeliveryAdmin, WebhookEndpointAdmin

__all__ = [
    "ActivationAdmin",
    "ActivationRequestAdmin",
    "DeploymentAdmin",
    "EvaluationAdmin",
    "EvaluationJobAdmin",
    "EvaluationSetAdmin",
    "ModelEventAdmin",
    "ModelVersionAdmin",
    "OfferAdmin",
    "PreviewJobAdmin",
    "SwitchPreviewAdmin",
    "TrainingRunAdmin",
    "WebhookDeliveryAdmin",
    "WebhookEndpointAdmin",
]
