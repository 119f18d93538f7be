"""What stands in the way of a version that is to read for patients."""

from apps.core.errors import ConflictError, InvalidInputError
from apps.deployment.ledger.entries import Decision
from apps.deployment.release_gates import ReleaseGate, blocking_gates, release_gates_of
from apps.registry.models import ModelVersion


def check_release_gates(version: ModelVersion, by: Decision) -> list[ReleaseGate]:
    """The gates that a version has not passed and this move overrides.

    Raises:
        ConflictError: nobody said to override them.
        InvalidInputError: nobody said why.
    """
    found = blocking_gates(release_gates_of(version))
    if found and not by.despite_gate:
        told = " ".join(f"{gate.evaluation_set}: {gate.reason}" for gate in found)
        raise ConflictError(
            f"{version} did not pass the gate, so it may read as a shadow and for no patient. {told} To let it read "
            "all the same, say so and why: --despite-gate --reason TEXT, or the same in the console.",
            "gate-failed",
        )
    if found and not by.reason.strip():
        raise InvalidInputError(f"Say why {version} is to serve although it did not pass the gate.", "reason-missing")
    return found
