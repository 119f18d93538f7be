"""The patient of a study.

It is contained in each resource and has no address of its own: name, birth date and sex are those that the images of
this very study state, and two studies under one PatientID may contradict each other (docs/patients.md).
"""

from typing import Any, Final

from apps.fhir.resources.datatypes import gender, human_names, patient_identifier
from apps.studies.models import Study

_ID: Final = "patient"


def contained_patient(study: Study) -> dict[str, Any]:
    """The demographics that the study's own images state; without those that are not known yet."""
    is_filled = study.is_filled
    return {
        "resourceType": "Patient",
        "id": _ID,
        "identifier": [_identifier(study)],
        "name": human_names(study.patient_name) if is_filled else [],
        "gender": gender(study.patient_sex) if is_filled else None,
        "birthDate": study.patient_birth_date.isoformat() if study.patient_birth_date else None,
    }


def subject(study: Study) -> dict[str, Any]:
    return {"reference": f"#{_ID}", "identifier": _identifier(study)}


def _identifier(study: Study) -> dict[str, Any] | None:
    return patient_identifier(study.patient.patient_id, study.patient.issuer_of_patient_id)
