"""What is in service for whom, versions beside it, and the ledger of every change; all of it is the platform's."""

from apps.deployment.models.activations import (
    Activation,
    ActivationRequest,
    Deployment,
    Offer,
    OperatingPoint,
    SwitchPreview,
)
from apps.deployment.models.challengers import Challenger, canary_reads
from apps.deployment.models.previews import PreviewJob

__all__ = [
    "Activation",
    "ActivationRequest",
    "Challenger",
    "Deployment",
    "Offer",
    "OperatingPoint",
    "PreviewJob",
    "SwitchPreview",
    "canary_reads",
]
