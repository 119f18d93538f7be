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
    claim_evaluation,
    complete_evaluation,
    create_evaluation_set,
    extend_lease,
    fail_evaluation,
    give_back_evaluation,
    keep_evaluation,
    refuse_evaluation,
    request_evaluations,
    waiting_evaluations,
)
from apps.registry.services.previews import store_preview
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

__all__ = [
    "Outcome",
    "activate",
    "activate_or_request",
    "approve",
    "challenge",
    "challenge_or_request",
    "claim_delivery",
    "claim_evaluation",
    "complete_evaluation",
    "create_endpoint",
    "create_evaluation_set",
    "due_deliveries",
    "end_challenge",
    "extend_lease",
    "fail_evaluation",
    "fetch_artifact",
    "find_version",
    "finish_delivery",
    "forget_artifact",
    "give_back_evaluation",
    "import_artifact",
    "keep_evaluation",
    "ping",
    "refuse_evaluation",
    "register",
    "renew_secret",
    "replay",
    "request_activation",
    "request_evaluations",
    "retire",
    "roll_back",
    "set_points",
    "store_preview",
    "unpin",
    "waiting_evaluations",
    "withdraw",
]
