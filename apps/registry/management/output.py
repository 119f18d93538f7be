"""The output of the commands that register a version."""

from datetime import datetime

from apps.registry.missing_points import missing_points_warning
from apps.registry.models import ModelVersion


def describe_registered(version: ModelVersion, since: datetime) -> str:
    """The message for a version that was registered now, or before ``since`` from the same artifact."""
    if version.registered < since:
        return f"{version} was registered before from the same artifact; its stored files are complete."
    return f"{version} is registered as a candidate ({version.sha256}).\n{describe_next_steps(version)}"


def describe_next_steps(version: ModelVersion) -> str:
    """The commands that an operator may run next with a new version, and its missing operating points."""
    lines = [
        missing_points_warning(version),
        f"To put it into service: manage.py activate_model {version}",
        f"To let hospitals name it before that: manage.py offer_model {version}",
    ]
    return "\n".join(line for line in lines if line)
