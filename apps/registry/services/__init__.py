"""The registry's verbs."""

from apps.registry.services.activation import activate, roll_back, unpin
from apps.registry.services.approval import (
    activate_or_request,
    approve,
    challenge_or_request,
    request_activation,
    retire,
    withdraw,
)
from apps.registry.services.artifacts import (
    fetch_artifact,
    find_version,
    forget_artifact,
    import_artifact,
    register,
)
from apps.registry.services.challenge import challenge, end_challenge
from apps.registry.services.choosing import set_points
from apps.registry.services.evaluating import (
    EVALUATIONS,
    complete_evaluation,
    create_evaluation_set,
    keep_evaluation,
    request_evaluations,
    use_evaluation_set,
)
from apps.registry.services.offers import offer, withdraw_offer
from apps.registry.services.points import holds
from apps.registry.services.previews import (
    PREVIEWS,
    complete_preview,
    held_preview,
    note_progress,
    request_preview,
    store_preview,
)
from apps.registry.services.webhooks import (
    Outcome,
    claim_delivery,
    create_endpoint,
    due_deliveries,
    finish_delivery,
    ping,
    renew_secret,
    replay,
)
from apps.registry.services.work import Queue

__all__ = [
    "EVALUATIONS",
    "PREVIEWS",
    "Outcome",
    "Queue",
    "activate",
    "activate_or_request",
    "approve",
    "challenge",
    "challenge_or_request",
    "claim_delivery",
    "complete_evaluation",
    "complete_preview",
    "create_endpoint",
    "create_evaluation_set",
    "due_deliveries",
    "end_challenge",
    "fetch_artifact",
    "find_version",
    "finish_delivery",
    "forget_artifact",
    "held_preview",
    "holds",
    "import_artifact",
    "keep_evaluation",
    "note_progress",
    "offer",
    "ping",
    "register",
    "renew_secret",
    "replay",
    "request_activation",
    "request_evaluations",
    "request_preview",
    "retire",
    "roll_back",
    "set_points",
    "store_preview",
    "unpin",
    "use_evaluation_set",
    "withdraw",
    "withdraw_offer",
]
