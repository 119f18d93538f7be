"""Compares the patient that signed reports name with the patient of their studies now."""

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import TextField, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce
from django.utils.crypto import salted_hmac

from apps.reports.models import Report, ReportStatus
from apps.studies.identity import demographics_key, differ
from apps.studies.models import Study


def patient_of(study: Study) -> dict[str, Any]:
    """The study's patient in the form that is stored with a signed report."""
    return {
        "name": study.patient_name,
        "patient_id": study.patient.patient_id,
        "issuer": study.patient.issuer_of_patient_id,
        "birth_date": study.patient_birth_date.isoformat() if study.patient_birth_date else None,
        "sex": study.patient_sex,
    }


def patient_key(study: Study) -> str:
    """A key that differs once the patient or the demographics of a study differ; it says nothing of them."""
    text = json.dumps(patient_of(study), sort_keys=True)
    return salted_hmac("apps.reports.printed", text, algorithm="sha256").hexdigest()[:32]


@dataclass(frozen=True)
class Difference:
    """A signed report that names another patient than its study does now."""

    report: Report
    printed: dict[str, Any]
    current: dict[str, Any]


def differing_reports() -> Iterator[Difference]:
    """The signed reports of the tenant in force that name another patient than their studies do, oldest first.

    Differences in case and spaces do not count. Studies whose demographics are not filled yet are left out.
    """
    signed = Report.objects.exclude(status=ReportStatus.PRELIMINARY).filter(
        printed__isnull=False, study__demographics_key__isnull=False
    )
    # Nearly all are equal to the letter: the database leaves them out, and only the others are compared here.
    others = signed.annotate(
        birth_date=Coalesce(Cast("study__patient_birth_date", TextField()), Value(""), output_field=TextField()),
    ).exclude(
        study__patient_name=_printed("name"),
        study__patient__patient_id=_printed("patient_id"),
        study__patient__issuer_of_patient_id=_printed("issuer"),
        birth_date=_printed("birth_date"),
        study__patient_sex=_printed("sex"),
    )
    for report in others.select_related("study__patient", "signed_by").order_by("signed_at", "id").iterator(500):
        current = patient_of(report.study)
        printed: dict[str, Any] = report.printed or {}
        if _identity(printed) != _identity(current) or differ(_key(printed), _key(current)):
            yield Difference(report, printed, current)


def _printed(name: str) -> Coalesce:
    return Coalesce(KT(f"printed__{name}"), Value(""), output_field=TextField())


def _identity(patient: dict[str, Any]) -> tuple[str, str]:
    return patient["patient_id"], patient["issuer"]


def _key(patient: dict[str, Any]) -> list[str]:
    birth_date = datetime.date.fromisoformat(patient["birth_date"]) if patient["birth_date"] else None
    return demographics_key(patient["name"], birth_date, patient["sex"])
