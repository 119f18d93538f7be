"""Models of deployment: what is in service, challengers, requests, offers, previews and the ledger.

All rows belong to the platform, not to a tenant.
"""

from apps.deployment.models.activations import (
    Activation,
    ActivationRequest,
    Deployment,
    Offer,
    OperatingPoint,
    SwitchPreview,
)
from apps.deployment.models.challengers import Challenger, canary_reads
from apps.deployment.models.change_plans import ChangePlan
from apps.deployment.models.drift import DriftReference, DriftWeek
from apps.deployment.models.previews import PreviewJob
from apps.deployment.models.recalibrations import AppliedRecalibration, Recalibration
from apps.deployment.models.stops import AiStop

__all__ = [
    "Activation",
    "ActivationRequest",
    "AiStop",
    "AppliedRecalibration",
    "Challenger",
    "ChangePlan",
    "Deployment",
    "DriftReference",
    "DriftWeek",
    "Offer",
    "OperatingPoint",
    "PreviewJob",
    "Recalibration",
    "SwitchPreview",
    "canary_reads",
]
