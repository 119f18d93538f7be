"""Findings that lose their operating point when another version comes into service."""

from collections.abc import Mapping
from typing import Any

from apps.deployment.models import Activation
from apps.registry.missing_points import missing_points_warning
from apps.registry.models import ModelVersion


def lost_points(entry: Activation) -> list[str]:
    """The findings that had an operating point for some tenant before the entry, and have none after it."""
    if entry.from_version is None or entry.act not in (*Activation.LETS_READ, Activation.Act.SHADOW):
        return []
    own_before, own_after = _own(entry.from_version), _own(entry.to_version)
    lost = set() if entry.for_tenant_id else own_before - own_after
    for tenant_id in {*entry.points_before, *entry.points_after}:
        with_point_before = own_before | _labels(entry.points_before, tenant_id)
        lost |= with_point_before - own_after - _labels(entry.points_after, tenant_id)
    return sorted(lost)


def lost_points_warning(entry: Activation) -> str:
    """The warning for the operator who made a change; empty where no finding lost its operating point."""
    lost = lost_points(entry)
    if not lost:
        return missing_points_warning(entry.to_version) if entry.from_version is None else ""
    if entry.act == Activation.Act.SHADOW:
        return (
            f"Not compared: {', '.join(lost)}. {entry.to_version} has no operating point for them. Choose their "
            "operating points, or the trial cannot compare them."
        )
    return (
        f"No operating point any more, so never flagged: {', '.join(lost)}. {entry.to_version} has none for them: "
        "choose operating points, or roll back."
    )


def _own(version: ModelVersion) -> set[str]:
    return {label for label, point in version.thresholds.items() if point is not None}


def _labels(points: Mapping[str, Mapping[str, Any]], tenant_id: str) -> set[str]:
    return set(points.get(tenant_id, {}))
