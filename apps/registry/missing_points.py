"""Findings for which a version has no operating point: nothing flags them, however high their probability."""

from apps.registry.models import ModelVersion


def missing_points(version: ModelVersion) -> list[str]:
    """The version's findings that are flagged only where a tenant chose a point."""
    return [label for label in version.manifest["labels"] if version.thresholds[label] is None]


def missing_points_warning(version: ModelVersion) -> str:
    """What to know of a version's points before it serves; empty where it has one for every finding."""
    labels = missing_points(version)
    if not labels:
        return ""
    if len(labels) == len(version.manifest["labels"]):
        return f"{version} has no operating points: it flags nothing until a tenant chooses some."
    return f"{version} has no operating point for {', '.join(labels)}: never flagged until a tenant chooses one."
