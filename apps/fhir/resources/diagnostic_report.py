"""The DiagnosticReport of a study (https://hl7.org/fhir/R4/diagnosticreport.html)."""

import html
from collections.abc import Sequence
from typing import Any, Final

from django.conf import settings

from apps.fhir.resources.datatypes import accession_identifier, concept, date_time, instant, without_empty
from apps.fhir.resources.labels import security, tags
from apps.fhir.resources.patient import contained_patient, subject
from apps.fhir.resources.results import StudyResult
from apps.inference.models import Finding
from apps.reports.models import Report
from apps.reports.selectors import addenda_of, presence_of
from apps.results.objects.codes import IMAGING_REPORT, finding_code

PRELIMINARY_NUMBER: Final = 0
"""Stands in the id of the PDF of a preliminary report where a signed one has its number."""
_RADIOLOGY: Final = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD", "display": "Radiology"}]
}


def diagnostic_report(result: StudyResult) -> dict[str, Any]:
    """Build the resource. It is one for each study, with the study's id, and its status changes."""
    study, report = result.study, result.report
    findings = list(result.job.findings.all()) if result.job and result.has_reading else []
    based_on = accession_identifier(study.accession_number)
    return without_empty(
        {
            "resourceType": "DiagnosticReport",
            "id": str(study.pk),
            "meta": {
                "lastUpdated": instant(result.updated),
                "security": security(with_ai=result.has_reading, is_signed=report is not None),
                "tag": tags(study),
            },
            "text": _narrative(result),
            "contained": [contained_patient(study)],
            "identifier": [based_on],
            "basedOn": [{"type": "ServiceRequest", "identifier": based_on}] if based_on else [],
            "status": result.status,
            "category": [_RADIOLOGY],
            "code": concept(IMAGING_REPORT),
            "subject": subject(study),
            "effectiveDateTime": date_time(study.study_date, study.study_time, result.zone),
            "issued": instant(result.updated) if report or result.has_reading else None,
            "performer": [{"display": result.hospital}],
            "resultsInterpreter": [{"display": str(report.signed_by)}] if report else [],
            "result": [{"reference": f"Observation/{each.pk}"} for each in findings],
            "imagingStudy": [{"reference": f"ImagingStudy/{study.pk}"}],
            "conclusion": _conclusion(result),
            "conclusionCode": _present(report, findings) if report else [],
            "presentedForm": _documents(result),
        }
    )


def _narrative(result: StudyResult) -> dict[str, Any]:
    said = f"Report of a chest radiograph: {result.status}. {settings.INTENDED_USE_NOTICE}"
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{html.escape(said)}</p></div>',
    }


def _conclusion(result: StudyResult) -> str:
    """The impression with its addenda, once it is signed; before that, why there is no result."""
    report, job = result.report, result.job
    if report is not None:
        addenda = [f"Addendum: {each.addendum}" for each in addenda_of(report)]
        return "\n\n".join(filter(None, (report.impression, *addenda)))
    return f"The AI gave no result: {job.reason}" if result.is_refused and job is not None else ""


def _present(report: Report, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """What the signed report says is present; what the reader added without a code is a text."""
    present = [label for label, is_present in presence_of(report, findings).items() if is_present]
    added = [{"text": each["name"]} for each in report.reader_findings if not each["label"]]
    return [concept(finding_code(label)) for label in present] + added


def _documents(result: StudyResult) -> list[dict[str, Any]]:
    """The PDF of the report: the version in force, which never changes, or the preliminary one as it stands."""
    report = result.report
    if report is None and not result.has_draft:
        return []
    number = report.number if report else PRELIMINARY_NUMBER
    return [
        {
            "contentType": "application/pdf",
            "url": f"Binary/{result.study.pk}.{number}",
            "title": f"Report, version {number}" if report else "Preliminary report",
            "creation": instant(report.signed_at) if report else None,
        }
    ]
