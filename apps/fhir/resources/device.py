"""The Device of a model version (https://hl7.org/fhir/R4/device.html)."""

from typing import Any

from django.conf import settings

from apps.fhir.resources.datatypes import uid_identifier, without_empty
from apps.fhir.resources.labels import AI_DEVICE
from apps.registry.models import ModelVersion
from apps.results.objects.content import PRODUCT


def device(version: ModelVersion) -> dict[str, Any]:
    """Build the resource. The identifier is the device UID of the result objects (IHE AIR 6.5.3.1)."""
    return without_empty(
        {
            "resourceType": "Device",
            "id": str(version.pk),
            "identifier": [uid_identifier(version.device_uid)],
            "status": "inactive" if version.retired else "active",
            "manufacturer": settings.MANUFACTURER_NAME or PRODUCT,
            "deviceName": [{"name": version.name, "type": "model-name"}],
            "type": {"coding": [AI_DEVICE], "text": "Artificial intelligence"},
            "version": [
                {"type": {"text": "Version"}, "value": str(version.number)},
                {"type": {"text": "SHA-256 of the artifact"}, "value": version.sha256},
            ],
            "note": [{"text": settings.INTENDED_USE_NOTICE}],
        }
    )


def device_reference(version: ModelVersion) -> dict[str, Any]:
    return {
        "reference": f"Device/{version.pk}",
        "identifier": uid_identifier(version.device_uid),
        "display": str(version),
    }
