"""Reading the registry."""

from collections.abc import Mapping
from uuid import UUID

from apps.core.errors import UnavailableError
from apps.registry.models import Deployment, ModelVersion


def deployments() -> Mapping[UUID | None, UUID]:
    """Every pointer by its tenant, None for the platform's: what a worker looks at before each claim."""
    version_id = version_id_in_service()
    return {} if version_id is None else {None: version_id}


def thresholds_for(version: ModelVersion, tenant_id: UUID) -> Mapping[str, float | None]:
    """The operating points by which a version's findings are judged for a tenant."""
    return {label: None if point is None else point["value"] for label, point in version.thresholds.items()}


def version_id_in_service() -> UUID | None:
    """The pointer alone."""
    return Deployment.objects.filter(slot=Deployment.Slot.PLATFORM).values_list("model_version_id", flat=True).first()


def version_in_service() -> ModelVersion:
    """Raises UnavailableError where no version has been activated."""
    deployment = Deployment.objects.select_related("model_version").filter(slot=Deployment.Slot.PLATFORM).first()
    if deployment is None:
        raise UnavailableError("No model version is in service: an operator must activate one.", "no-model-in-service")
    return deployment.model_version
