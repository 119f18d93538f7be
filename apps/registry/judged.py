"""Which findings have no operating point: nothing flags them, however high their probability."""

from collections.abc import Mapping
from typing import Any

from apps.registry.models import Activation, ModelVersion


def unjudged(version: ModelVersion) -> list[str]:
    """The version's findings that are judged only where a tenant chose a point."""
    return [label for label in version.manifest["labels"] if version.thresholds[label] is None]


def warning_of(version: ModelVersion) -> str:
    """What whoever may put the version into service should know of its points; empty where it judges everything."""
    labels = unjudged(version)
    if not labels:
        return ""
    if len(labels) == len(version.manifest["labels"]):
        return f"{version} has no operating points: it flags nothing until a tenant chooses some."
    return f"{version} has no operating point for {', '.join(labels)}: never flagged until a tenant chooses one."


def given_up(line: Activation) -> list[str]:
    """The findings that were judged for somebody before a move, and are not after it."""
    if line.from_version is None or line.act not in (*Activation.LETS_READ, Activation.Act.SHADOW):
        return []
    own_before, own_after = _own(line.from_version), _own(line.to_version)
    lost = set() if line.for_tenant_id else own_before - own_after
    for tenant_id in {*line.points_before, *line.points_after}:
        judged_before = own_before | _labels(line.points_before, tenant_id)
        lost |= judged_before - own_after - _labels(line.points_after, tenant_id)
    return sorted(lost)


def warning_after(line: Activation) -> str:
    """What whoever made a move should hear of it; empty where nothing is flagged less for want of a point."""
    lost = given_up(line)
    if not lost:
        return warning_of(line.to_version) if line.from_version is None else ""
    if line.act == Activation.Act.SHADOW:
        return (
            f"Not compared: {', '.join(lost)}. {line.to_version} has no operating point for them; choose some, or the "
            "trial says nothing of them."
        )
    return (
        f"No longer judged, so never flagged: {', '.join(lost)}. {line.to_version} has no operating point for them; "
        "choose some, or take it back."
    )


def _own(version: ModelVersion) -> set[str]:
    return {label for label, point in version.thresholds.items() if point is not None}


def _labels(points: Mapping[str, Mapping[str, Any]], tenant_id: str) -> set[str]:
    return set(points.get(tenant_id, {}))
