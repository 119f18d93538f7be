"""What the commands that register a version print."""

from datetime import datetime

from apps.registry.missing_points import missing_points_warning
from apps.registry.models import ModelVersion


def describe_registered(version: ModelVersion, since: datetime) -> str:
    """What an operator should know of a version that was registered, after ``since`` or long before."""
    if version.registered < since:
        return f"{version} was registered before from the same artifact; its stored files are whole."
    return f"{version} is registered as a candidate ({version.sha256}).\n{describe_next_steps(version)}"


def describe_next_steps(version: ModelVersion) -> str:
    """What an operator may do with a version that was just registered."""
    lines = [
        missing_points_warning(version),
        f"To put it into service: manage.py activate_model {version}",
        f"To let hospitals name it before: manage.py offer_model {version}",
    ]
    return "\n".join(line for line in lines if line)
