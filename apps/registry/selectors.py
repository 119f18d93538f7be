"""Reading the registry."""

from uuid import UUID

from apps.core.errors import UnavailableError
from apps.registry.models import Deployment, ModelVersion


def version_id_in_service() -> UUID | None:
    """The pointer alone: what a worker looks at before each batch."""
    return Deployment.objects.filter(slot=Deployment.Slot.PLATFORM).values_list("model_version_id", flat=True).first()


def version_in_service() -> ModelVersion:
    """Raises UnavailableError where no version has been activated."""
    deployment = Deployment.objects.select_related("model_version").filter(slot=Deployment.Slot.PLATFORM).first()
    if deployment is None:
        raise UnavailableError("No model version is in service: an operator must activate one.", "no-model-in-service")
    return deployment.model_version
