"""The security labels that say who asserts a resource (HL7 AI Transparency on FHIR 1.0.0-ballot)."""

from typing import Any, Final

from apps.fhir.resources.datatypes import OWN_SYSTEM
from apps.studies.models import Study

AI_ASSERTED: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
CLINICIAN_ASSERTED: Final = {
    "system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AddedProvenanceCS",
    "code": "CLINAST_AIRPT",
    "display": "Clinician Asserted from AI Reported",
}
AI_DEVICE: Final = {
    "system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS",
    "code": "Artificial-Intelligence",
}


def security(*, with_ai: bool, is_signed: bool) -> list[dict[str, Any]]:
    """The label of a result: the signature turns it. A report without a reading of the AI has none."""
    if not with_ai:
        return []
    return [CLINICIAN_ASSERTED if is_signed else AI_ASSERTED]


def tags(study: Study) -> list[dict[str, Any]]:
    """A tag where the identity of a study's patient is in doubt; the study has ``demographics_conflict``."""
    if not study.demographics_conflict:  # type: ignore[attr-defined]
        return []
    display = "The patient's name, birth date, sex or ID contradict each other"
    return [{"system": OWN_SYSTEM, "code": "demographics-conflict", "display": display}]
