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
from apps.registry.services.previews import store_preview

__all__ = [
    "activate",
    "activate_or_request",
    "approve",
    "challenge",
    "challenge_or_request",
    "end_challenge",
    "fetch_artifact",
    "find_version",
    "forget_artifact",
    "import_artifact",
    "register",
    "request_activation",
    "retire",
    "roll_back",
    "set_points",
    "store_preview",
    "unpin",
    "withdraw",
]
