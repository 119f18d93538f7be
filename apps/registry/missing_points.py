"""Missing operating points: findings for which a version has no threshold, so that they are never flagged."""

from apps.registry.models import ModelVersion


def missing_points(version: ModelVersion) -> list[str]:
    """The version's findings without an operating point; only a tenant's own point can flag them."""
    return [label for label in version.manifest["labels"] if version.thresholds[label] is None]


def missing_points_warning(version: ModelVersion) -> str:
    """The warning before a version serves; empty where every finding has an operating point."""
    labels = missing_points(version)
    if not labels:
        return ""
    if len(labels) == len(version.manifest["labels"]):
        return f"{version} has no operating points: it flags nothing until a tenant chooses some."
    return f"{version} has no operating point for {', '.join(labels)}: never flagged until a tenant chooses one."
