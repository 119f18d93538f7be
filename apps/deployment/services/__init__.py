"""Services of deployment: everything that changes what is in service, requests, offers and previews."""

from apps.deployment.services.activation import activate, roll_back, unpin
from apps.deployment.services.approval import (
    activate_or_request,
    approve,
    challenge_or_request,
    request_activation,
    retire,
    withdraw_request,
)
from apps.deployment.services.carry_points import is_current_preview
from apps.deployment.services.challenge import challenge, end_challenge
from apps.deployment.services.choose_points import set_points
from apps.deployment.services.evaluations import request_evaluations
from apps.deployment.services.offers import offer, withdraw_offer
from apps.deployment.services.previews import PREVIEWS, held_preview, note_progress, request_preview
from apps.deployment.services.recalibrate import apply_recalibration, propose_recalibration, undo_recalibration
from apps.deployment.services.stops import start_ai, stop_ai

__all__ = [
    "PREVIEWS",
    "activate",
    "activate_or_request",
    "apply_recalibration",
    "approve",
    "challenge",
    "challenge_or_request",
    "end_challenge",
    "held_preview",
    "is_current_preview",
    "note_progress",
    "offer",
    "propose_recalibration",
    "request_activation",
    "request_evaluations",
    "request_preview",
    "retire",
    "roll_back",
    "set_points",
    "start_ai",
    "stop_ai",
    "undo_recalibration",
    "unpin",
    "withdraw_offer",
    "withdraw_request",
]
