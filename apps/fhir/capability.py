"""The CapabilityStatement (https://hl7.org/fhir/R4/capabilitystatement.html)."""

from collections.abc import Mapping
from typing import Any, Final

from apps.core.version import VERSION
from apps.fhir.base import FHIR_VERSION
from apps.fhir.outcomes import FHIR_JSON
from apps.fhir.searches import PARAMETERS, Parameter
from apps.results.objects.content import PRODUCT

# The day of the last change to what is described here.
_DATE: Final = "2026-11-29"
_DOCUMENTATION: Final[Mapping[str, str]] = {
    "ImagingStudy": "A study with its series and instances; the patient is contained.",
    "DiagnosticReport": "One for each study, with the id of its ImagingStudy: registered until the AI has read it, "
    "preliminary until a radiologist signs it, final, amended; cancelled where the AI gave no result.",
    "Observation": "One for each finding of the reading that the report is about.",
    "Device": "A model version.",
    "Binary": "The PDF of a report.",
}


def capability_statement(base: str) -> dict[str, Any]:
    """What is offered here.

    Args:
        base: the address of the service.
    """
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _DATE,
        "publisher": PRODUCT,
        "kind": "instance",
        "software": {"name": PRODUCT, "version": VERSION},
        "implementation": {"description": "Chest radiographs and what an AI found in them", "url": base},
        "fhirVersion": FHIR_VERSION,
        "format": [FHIR_JSON, "json"],
        "rest": [
            {
                "mode": "server",
                "documentation": "Read only, with an API key of the scope fhir.read.",
                "security": {"description": "Authorization: Bearer <API key>; TLS."},
                "resource": [_resource(kind) for kind in _DOCUMENTATION],
            }
        ],
    }


def _resource(kind: str) -> dict[str, Any]:
    parameters = PARAMETERS.get(kind, {})
    found: dict[str, Any] = {
        "type": kind,
        "documentation": _DOCUMENTATION[kind],
        "interaction": [{"code": "read"}],
        "versioning": "no-version",
    }
    if parameters:
        found["interaction"].append({"code": "search-type"})
        found["searchParam"] = [_search_parameter(name, each) for name, each in parameters.items()]
    return found


def _search_parameter(name: str, parameter: Parameter) -> dict[str, Any]:
    return {"name": name, "type": parameter.kind, "documentation": parameter.documentation}
