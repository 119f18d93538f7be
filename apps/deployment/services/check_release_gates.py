"""The floor and the release gates as conditions: a version reads for patients only if it passed, or is let through."""

from typing import Any

from apps.core.errors import ConflictError, InvalidInputError
from apps.deployment.floor import failed_floor_checks
from apps.deployment.ledger.entries import Decision
from apps.deployment.release_gates import blocking_gates, release_gates_of
from apps.registry.models import ModelVersion


def check_release_gates(
    version: ModelVersion, decision: Decision, *, serving: ModelVersion | None
) -> list[dict[str, Any]]:
    """The floor checks and release gates that a version has not passed and that this decision overrides.

    Args:
        serving: the version that it would replace.

    Returns:
        Each as the ledger keeps it.

    Raises:
        ConflictError: one was not passed, and the decision does not override it.
        InvalidInputError: the override has no reason.
    """
    gates = blocking_gates(release_gates_of(version))
    floor = failed_floor_checks(version, serving) if version != serving else []
    if not gates and not floor:
        return []
    missed = " and the ".join([*(["release gate"] if gates else []), *(["floor"] if floor else [])])
    if not decision.despite_gate:
        reasons = [*(check.reason for check in floor), *(f"{gate.evaluation_set}: {gate.reason}" for gate in gates)]
        raise ConflictError(
            f"{version} did not pass the {missed}, so it may read as a shadow and for no patient. {' '.join(reasons)} "
            "To put it into service all the same, give a reason: --despite-gate --reason TEXT, or Override the release "
            "gate in the console.",
            "gate-failed" if gates else "below-floor",
        )
    if not decision.reason.strip():
        raise InvalidInputError(
            f"{version} did not pass the {missed}: give the reason for overriding it.", "reason-missing"
        )
    return [*(check.to_dict() for check in floor), *(gate.to_dict() for gate in gates)]
