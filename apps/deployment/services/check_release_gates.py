"""The release gate as a condition: a version reads for patients only if it passed, or an operator overrides it."""

from apps.core.errors import ConflictError, InvalidInputError
from apps.deployment.ledger.entries import Decision
from apps.deployment.release_gates import ReleaseGate, blocking_gates, release_gates_of
from apps.registry.models import ModelVersion


def check_release_gates(version: ModelVersion, decision: Decision) -> list[ReleaseGate]:
    """The release gates that a version has not passed and that this decision overrides.

    Raises:
        ConflictError: a gate was not passed, and the decision does not override it.
        InvalidInputError: the override has no reason.
    """
    blocking = blocking_gates(release_gates_of(version))
    if blocking and not decision.despite_gate:
        reasons = " ".join(f"{gate.evaluation_set}: {gate.reason}" for gate in blocking)
        raise ConflictError(
            f"{version} did not pass the release gate, so it may read as a shadow and for no patient. {reasons} To "
            "override the release gate, give a reason: --despite-gate --reason TEXT, or Override the release gate in "
            "the console.",
            "gate-failed",
        )
    if blocking and not decision.reason.strip():
        raise InvalidInputError(
            f"{version} did not pass the release gate: give the reason for overriding it.", "reason-missing"
        )
    return blocking
