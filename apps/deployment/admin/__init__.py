"""Console pages of versions, deployments, requests, offers, previews and the ledger."""

from apps.deployment.admin.activations import ActivationAdmin, ActivationRequestAdmin, DeploymentAdmin
from apps.deployment.admin.change_plans import ChangePlanAdmin
from apps.deployment.admin.drift import DriftReferenceAdmin, DriftWeekAdmin
from apps.deployment.admin.offers import OfferAdmin
from apps.deployment.admin.previews import PreviewJobAdmin, SwitchPreviewAdmin
from apps.deployment.admin.recalibrations import RecalibrationAdmin
from apps.deployment.admin.stops import AiStopAdmin
from apps.deployment.admin.versions import ModelVersionAdmin

__all__ = [
    "ActivationAdmin",
    "ActivationRequestAdmin",
    "AiStopAdmin",
    "ChangePlanAdmin",
    "DeploymentAdmin",
    "DriftReferenceAdmin",
    "DriftWeekAdmin",
    "ModelVersionAdmin",
    "OfferAdmin",
    "PreviewJobAdmin",
    "RecalibrationAdmin",
    "SwitchPreviewAdmin",
]
