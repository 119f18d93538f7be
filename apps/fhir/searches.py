"""Search parameters (https://hl7.org/fhir/R4/search.html): what each resource can be searched by, as conditions."""

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db.models import Exists, OuterRef, Q

from apps.core.errors import InvalidInputError
from apps.core.work_queue import JobState
from apps.fhir.resources.datatypes import DICOM_UID, IDENTIFIER_TYPES, OWN_SYSTEM, SYSTEMS, issuer_system
from apps.fhir.resources.results import CANCELLED, ENDED_WITHOUT_RESULT, REGISTERED
from apps.reading.models import WAITING
from apps.reports.models import ReportDraft, ReportStatus
from apps.results.objects.codes import FINDINGS, finding_code
from apps.studies.models import Series

_DATE = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb)?(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_NONE: Final = Q(pk__in=[])
_ALL: Final = Q(pk__isnull=False)
REFUSED: Final = frozenset({"patient", "subject"})
"""Known parameters that are not searched: to ignore one would give a caller the studies of other patients."""


@dataclass(frozen=True)
class Parameter:
    """A search parameter.

    Attributes:
        kind: of SearchParamType.
        condition: makes a condition of one value.
        other_names: under which it is known too.
        modifiers: the conditions of its modifiers, by their names.
    """

    kind: str
    documentation: str
    condition: Callable[[str], Q]
    other_names: tuple[str, ...] = ()
    modifiers: Mapping[str, Callable[[str], Q]] = field(default_factory=dict)


def split_token(text: str) -> tuple[str | None, str]:
    """System and code of a token; None where no system is named, an empty text where it is to have none."""
    first, *rest = re.split(r"(?<!\\)\|", text, maxsplit=1)
    system, code = (first, rest[0]) if rest else (None, first)
    return system, code.replace(r"\|", "|")


def resource_ids(text: str) -> Q:
    """``_id``: an id that is no UUID finds nothing."""
    try:
        return Q(pk=UUID(text))
    except ValueError:
        return _NONE


def _reference(text: str, kind: str) -> UUID | None:
    """The id of a reference: of the resource alone, with its type, or as an address."""
    before, _, last = text.rpartition("/")
    try:
        return UUID(last) if not before or before.rpartition("/")[2] == kind else None
    except ValueError:
        return None


def _patient(prefix: str) -> Callable[[str], Q]:
    """By patient identifier: ``value``, ``|value`` or ``system|value``, where the system is the issuer's URI."""

    def condition(text: str) -> Q:
        system, value = split_token(text)
        if not value:
            raise InvalidInputError("patient.identifier needs a value: system|value, or the value alone.", "no-value")
        found = Q(**{f"{prefix}patient__patient_id": value})
        if not system:
            return found
        issuer = system.removeprefix("urn:oid:")
        if issuer_system(issuer) != system:
            return _NONE
        return found & Q(**{f"{prefix}patient__issuer_of_patient_id": issuer})

    return condition


def _accession(prefix: str) -> Callable[[str], Q]:
    def condition(text: str) -> Q:
        system, value = split_token(text)
        return Q(**{f"{prefix}accession_number": value}) if value and not system else _NONE

    return condition


def _study_identifier(text: str) -> Q:
    """By Study Instance UID, ``urn:dicom:uid|urn:oid:<uid>``, or by accession number, which has no system."""
    system, value = split_token(text)
    by_uid = Q(study_instance_uid=value.removeprefix("urn:oid:")) if system in (None, DICOM_UID) else _NONE
    return by_uid | _accession("")(text)


def _of_type(text: str) -> Q:
    """``identifier:of-type``: of an accession number, ``http://terminology.hl7.org/CodeSystem/v2-0203|ACSN|value``."""
    system, _, rest = text.partition("|")
    code, bar, value = rest.partition("|")
    if not bar:
        raise InvalidInputError("identifier:of-type needs system|code|value.", "no-value")
    return Q(accession_number=value) if (system, code) == (IDENTIFIER_TYPES, "ACSN") and value else _NONE


def _date(prefix: str) -> Callable[[str], Q]:
    """By study date, to the day, month or year, with FHIR's prefixes."""

    def condition(text: str) -> Q:
        match = _DATE.fullmatch(text)
        if match is None:
            raise InvalidInputError(
                "A date is YYYY, YYYY-MM or YYYY-MM-DD, after eq, ne, gt, lt, ge, le, sa or eb or without them; "
                "times of day are not searched.",
                "date-invalid",
            )
        first, last = _days(match)
        name = f"{prefix}study_date"
        during = Q(**{f"{name}__gte": first, f"{name}__lte": last})
        return {
            "ne": ~during & Q(**{f"{name}__isnull": False}),
            "gt": Q(**{f"{name}__gt": last}),
            "sa": Q(**{f"{name}__gt": last}),
            "ge": Q(**{f"{name}__gte": first}),
            "lt": Q(**{f"{name}__lt": first}),
            "eb": Q(**{f"{name}__lt": first}),
            "le": Q(**{f"{name}__lte": last}),
        }.get(match[1], during)

    return condition


def _days(match: re.Match[str]) -> tuple[datetime.date, datetime.date]:
    year, month, day = int(match[2]), int(match[3] or 1), int(match[4] or 1)
    try:
        first = datetime.date(year, month, day)
        if match[4]:
            return first, first
        if match[3]:
            following = datetime.date(year + month // 12, month % 12 + 1, 1)
            return first, following - datetime.timedelta(days=1)
        return first, datetime.date(year, 12, 31)
    except ValueError:
        raise InvalidInputError("There is no such date.", "date-invalid") from None


def _modality(text: str) -> Q:
    system, code = split_token(text)
    if system not in (None, SYSTEMS["DCM"]):
        return _NONE
    return Q(Exists(Series.objects.filter(study=OuterRef("pk"), modality=code)))


def _available(text: str) -> Q:
    """Each study here has images, so each is available."""
    return _ALL if split_token(text)[1] == "available" else _NONE


def _report_status(text: str) -> Q:
    """As `resources.results.StudyResult.status` says it of one study."""
    status = split_token(text)[1]
    if status in (ReportStatus.FINAL, ReportStatus.AMENDED):
        return Q(entries__report_status=status)
    current = Q(job=OuterRef("entries__job")) | Q(job__isnull=True)
    has_draft = Q(Exists(ReportDraft.objects.filter(current, study=OuterRef("pk"))))
    unsigned = Q(entries__report_status="")
    if status == ReportStatus.PRELIMINARY:
        return unsigned & (has_draft | Q(entries__status=JobState.COMPLETE))
    states = {REGISTERED: [WAITING], CANCELLED: list(ENDED_WITHOUT_RESULT)}.get(status)
    return _NONE if states is None else unsigned & ~has_draft & Q(entries__status__in=states)


def _finding_status(text: str) -> Q:
    status = split_token(text)[1]
    kept = {
        ReportStatus.PRELIMINARY.value: "",
        ReportStatus.FINAL.value: ReportStatus.FINAL,
        ReportStatus.AMENDED.value: ReportStatus.AMENDED,
    }
    return Q(job__study__entries__report_status=kept[status]) if status in kept else _NONE


def _finding_code(text: str) -> Q:
    system, value = split_token(text)
    labels = [
        label
        for label, code in FINDINGS.items()
        if code.value == value and system in (None, SYSTEMS[code.scheme_designator])
    ]
    own = Q(label=value) if finding_code(value).value == value and system in (None, OWN_SYSTEM) else _NONE
    return Q(label__in=labels) | own


def _derived_from(text: str) -> Q:
    study = _reference(text, "ImagingStudy")
    return _NONE if study is None else Q(job__study=study)


def _device(text: str) -> Q:
    version = _reference(text, "Device")
    return _NONE if version is None else Q(job__model_version=version)


def _device_identifier(text: str) -> Q:
    system, value = split_token(text)
    return Q(device_uid=value.removeprefix("urn:oid:")) if system in (None, DICOM_UID) else _NONE


_OF_TYPE: Final = {"of-type": _of_type}
_PATIENT_NAMES: Final = (
    "patient:identifier",
    "subject.identifier",
    "subject:identifier",
    "subject:Patient.identifier",
    "patient:Patient.identifier",
)


def _of_patient(prefix: str) -> dict[str, Parameter]:
    return {
        "patient.identifier": Parameter(
            "token",
            "PatientID: value, |value, or system|value with the issuer's URI.",
            _patient(prefix),
            _PATIENT_NAMES,
        ),
    }


_ID = {"_id": Parameter("token", "The id of the resource.", resource_ids)}
PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = {
    "ImagingStudy": _ID
    | {
        "identifier": Parameter(
            "token",
            "Study Instance UID (urn:dicom:uid|urn:oid:…) or accession number.",
            _study_identifier,
            modifiers=_OF_TYPE,
        ),
        "started": Parameter("date", "Study date, to the day.", _date("")),
        "status": Parameter("token", "All studies are available.", _available),
        "modality": Parameter("token", "Modality of a series.", _modality),
    }
    | _of_patient(""),
    "DiagnosticReport": _ID
    | {
        "identifier": Parameter("token", "Accession number.", _accession(""), modifiers=_OF_TYPE),
        "date": Parameter("date", "Study date, to the day.", _date("")),
        "status": Parameter("token", "registered, preliminary, final, amended or cancelled.", _report_status),
    }
    | _of_patient(""),
    "Observation": _ID
    | {
        "derived-from": Parameter("reference", "The ImagingStudy.", _derived_from),
        "code": Parameter("token", "The finding.", _finding_code),
        "status": Parameter("token", "preliminary, final or amended.", _finding_status),
        "date": Parameter("date", "Study date, to the day.", _date("job__study__")),
        "device": Parameter("reference", "The model version.", _device),
    }
    | _of_patient("job__study__"),
    "Device": _ID | {"identifier": Parameter("token", "The device UID (urn:dicom:uid|urn:oid:…).", _device_identifier)},
}
"""The search parameters of each resource. The capability statement and the documentation name these."""
