"""Findings that lose their operating point when another version comes into service."""

from collections.abc import Mapping
from typing import Any

from apps.deployment.models import Activation
from apps.registry.missing_points import missing_points_warning
from apps.registry.models import ModelVersion


def lost_points(line: Activation) -> list[str]:
    """The findings that were judged for somebody before a move, and are not after it."""
    if line.from_version is None or line.act not in (*Activation.LETS_READ, Activation.Act.SHADOW):
        return []
    own_before, own_after = _own(line.from_version), _own(line.to_version)
    lost = set() if line.for_tenant_id else own_before - own_after
    for tenant_id in {*line.points_before, *line.points_after}:
        judged_before = own_before | _labels(line.points_before, tenant_id)
        lost |= judged_before - own_after - _labels(line.points_after, tenant_id)
    return sorted(lost)


def lost_points_warning(line: Activation) -> str:
    """What whoever made a move should hear of it; empty where nothing is flagged less for want of a point."""
    lost = lost_points(line)
    if not lost:
        return missing_points_warning(line.to_version) if line.from_version is None else ""
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
