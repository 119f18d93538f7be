"""The ImagingStudy of a study (https://hl7.org/fhir/R4/imagingstudy.html)."""

import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.uid import UID

from apps.fhir.resources.datatypes import (
    SYSTEMS,
    URI,
    accession_identifier,
    date_time,
    uid_identifier,
    without_empty,
)
from apps.fhir.resources.labels import tags
from apps.fhir.resources.patient import contained_patient, subject
from apps.studies.models import Instance, Series, Study
from apps.studies.names import PersonName

_UNKNOWN_MODALITY: Final = "OT"
_ENDPOINT: Final = "wado-rs"


@dataclass(frozen=True)
class SeriesContent:
    """A series with those of its instances that other systems may get."""

    series: Series
    instances: list[Instance] = field(default_factory=list)


def imaging_study(
    study: Study, series: Sequence[SeriesContent], *, zone: zoneinfo.ZoneInfo, dicomweb: str
) -> dict[str, Any]:
    """Build the resource.

    Args:
        zone: of the hospital: DICOM dates and times name none.
        dicomweb: the address of the DICOMweb service, where the images are.
    """
    modalities = sorted({each.series.modality for each in series} - {""})
    return without_empty(
        {
            "resourceType": "ImagingStudy",
            "id": str(study.pk),
            "meta": {"tag": tags(study)},
            "contained": [contained_patient(study), _endpoint(dicomweb)],
            "identifier": [uid_identifier(study.study_instance_uid), accession_identifier(study.accession_number)],
            "status": "available",
            "modality": [_modality(each) for each in modalities],
            "subject": subject(study),
            "started": date_time(study.study_date, study.study_time, zone),
            "referrer": {"display": PersonName.parse(study.referring_physician_name).short},
            "endpoint": [{"reference": f"#{_ENDPOINT}"}],
            "numberOfSeries": len(series),
            "numberOfInstances": sum(len(each.instances) for each in series),
            "description": study.study_description,
            "series": [_series(each) for each in series],
        }
    )


def _endpoint(address: str) -> dict[str, Any]:
    connection = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
    return {
        "resourceType": "Endpoint",
        "id": _ENDPOINT,
        "status": "active",
        "connectionType": {"system": connection, "code": "dicom-wado-rs"},
        "payloadType": [{"text": "DICOM"}],
        "payloadMimeType": ["application/dicom"],
        "address": address,
    }


def _modality(code: str) -> dict[str, Any]:
    return {"system": SYSTEMS["DCM"], "code": code}


def _series(content: SeriesContent) -> dict[str, Any]:
    series = content.series
    return {
        "uid": series.series_instance_uid,
        "number": _number(series.series_number),
        # The element is required; images without a modality are of another one.
        "modality": _modality(series.modality or _UNKNOWN_MODALITY),
        "description": series.series_description,
        "numberOfInstances": len(content.instances),
        "bodySite": {"display": series.body_part_examined},
        "instance": [_instance(each) for each in content.instances],
    }


def _instance(instance: Instance) -> dict[str, Any]:
    return {
        "uid": instance.sop_instance_uid,
        "sopClass": {
            "system": URI,
            "code": f"urn:oid:{instance.sop_class_uid}",
            "display": UID(instance.sop_class_uid).name,
        },
        "number": _number(str(instance.attributes.get("InstanceNumber", ""))),
    }


def _number(text: str) -> int | None:
    """An IS value as an unsignedInt (0 to 2,147,483,647)."""
    text = text.strip().lstrip("+")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**31 else None
