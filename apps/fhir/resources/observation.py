"""The Observation of a finding (https://hl7.org/fhir/R4/observation.html)."""

from typing import Any, Final

from django.conf import settings
from pydicom.sr.coding import Code

from apps.fhir.resources.datatypes import accession_identifier, coding, concept, date_time, instant, without_empty
from apps.fhir.resources.device import device_reference
from apps.fhir.resources.labels import security
from apps.fhir.resources.patient import contained_patient, subject
from apps.fhir.resources.results import StudyResult
from apps.inference.models import Finding
from apps.reports.selectors import presence_of
from apps.results.objects import codes

_CATEGORY: Final = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}]
}
_INTERPRETATIONS: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_INTERPRETATION: Final = {codes.POSITIVE: "POS", codes.NEGATIVE: "NEG", codes.UNCERTAIN: "IND"}
_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def observation(finding: Finding, result: StudyResult) -> dict[str, Any]:
    """Build the resource.

    Its value is what holds: the AI's call, or what the reader who signed decided against it. The components say what
    the AI found and what the reader decided.

    Args:
        result: of the study, about the reading that the finding is from.
    """
    study, report, version = result.study, result.report, result.job.model_version if result.job else None
    value = _value(finding, result)
    return without_empty(
        {
            "resourceType": "Observation",
            "id": str(finding.pk),
            "meta": {
                "lastUpdated": instant(result.updated),
                "security": security(with_ai=True, is_signed=report is not None),
            },
            "contained": [contained_patient(study)],
            "basedOn": _based_on(result),
            "status": result.status,
            "category": [_CATEGORY],
            "code": concept(codes.finding_code(finding.label)),
            "subject": subject(study),
            "effectiveDateTime": date_time(study.study_date, study.study_time, result.zone),
            "issued": instant(result.updated),
            "performer": [{"display": str(report.signed_by)}] if report else [],
            "valueCodeableConcept": concept(value) if value else None,
            "dataAbsentReason": None if value else {"coding": [{"system": _ABSENT, "code": "unsupported"}]},
            "interpretation": [_interpretation(value)] if value else [],
            "note": [{"text": settings.INTENDED_USE_NOTICE}],
            "device": device_reference(version) if version else None,
            "derivedFrom": [{"reference": f"ImagingStudy/{study.pk}"}],
            "component": _components(finding, result),
        }
    )


def _based_on(result: StudyResult) -> list[dict[str, Any]]:
    """The order, which is known by its accession number alone."""
    identifier = accession_identifier(result.study.accession_number)
    return [{"type": "ServiceRequest", "identifier": identifier}] if identifier else []


def _called(finding: Finding) -> Code | None:
    """What the AI says; None where its version has no operating point for the finding."""
    if finding.threshold is None:
        return None
    if finding.uncertain:
        return codes.UNCERTAIN
    return codes.POSITIVE if finding.positive else codes.NEGATIVE


def _value(finding: Finding, result: StudyResult) -> Code | None:
    if result.report is not None:
        present = presence_of(result.report, [finding]).get(finding.label)
        if present is not None:
            return codes.POSITIVE if present else codes.NEGATIVE
    return _called(finding)


def _interpretation(value: Code) -> dict[str, Any]:
    return {"coding": [{"system": _INTERPRETATIONS, "code": _INTERPRETATION[value]}]}


def _components(finding: Finding, result: StudyResult) -> list[dict[str, Any]]:
    found = [{"code": concept(codes.PROBABILITY), "valueQuantity": _share(finding.probability)}]
    called = _called(finding)
    if finding.threshold is not None and called is not None:
        found.append({"code": concept(codes.THRESHOLD), "valueQuantity": _share(finding.threshold)})
        found.append({"code": concept(codes.INTERPRETATION), "valueCodeableConcept": concept(called)})
    verdict = result.report.verdicts.get(finding.label) if result.report else None
    if verdict:
        found.append({"code": concept(codes.VERDICT), "valueCodeableConcept": concept(codes.VERDICTS[verdict])})
    return found


def _share(value: float) -> dict[str, Any]:
    unity = coding(codes.UNITY)
    return {"value": round(value, 6), "unit": unity["display"], "system": unity["system"], "code": unity["code"]}
