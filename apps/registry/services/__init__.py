"""The registry's verbs."""

from apps.registry.services.activation import activate, roll_back, unpin
from apps.registry.services.artifacts import fetch_artifact, find_version, forget_artifact, register

__all__ = ["activate", "fetch_artifact", "find_version", "forget_artifact", "register", "roll_back", "unpin"]
