"""Model versions, how they were trained and measured, the pointers to those in service, the ledger of their moves.

All of it belongs to the platform.
"""

from apps.registry.models.challengers import Challenger, takes
from apps.registry.models.evaluating import EvaluationJob, EvaluationSet
from apps.registry.models.events import ModelEvent, WebhookDelivery, WebhookEndpoint
from apps.registry.models.previewing import PreviewJob
from apps.registry.models.service import (
    PLATFORM,
    Activation,
    ActivationRequest,
    Deployment,
    Offer,
    OperatingPoint,
    SwitchPreview,
)
from apps.registry.models.training import LOST_AFTER, TrainingEpoch, TrainingRun
from apps.registry.models.versions import Evaluation, ModelVersion
from apps.registry.models.work import Work

__all__ = [
    "LOST_AFTER",
    "PLATFORM",
    "Activation",
    "ActivationRequest",
    "Challenger",
    "Deployment",
    "Evaluation",
    "EvaluationJob",
    "EvaluationSet",
    "ModelEvent",
    "ModelVersion",
    "Offer",
    "OperatingPoint",
    "PreviewJob",
    "SwitchPreview",
    "TrainingEpoch",
    "TrainingRun",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Work",
    "takes",
]
