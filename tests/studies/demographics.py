"""Chest films with demographics that a test chooses."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom

from apps.audit.services import Actor
from apps.ingest.intake import ingest_instance, inspect_file
from apps.studies.spool import open_spool
from tests.conftest import Hospital

JOHN = {"PatientName": "Doe^John", "PatientBirthDate": "19500101", "PatientSex": "M"}
JANE = {"PatientName": "Smith^Jane", "PatientBirthDate": "19900505", "PatientSex": "F"}


def film_of(make_film: Callable[..., Path], seed: int, *, study: str = "", **elements: Any) -> bytes:
    """A film of its own study, or of the one named, with DICOM elements by keyword; None leaves one out."""
    dataset = pydicom.dcmread(make_film(seed=seed, size=64, study_uid=study or f"2.25.77{seed}"))
    target = io.BytesIO()
    with pydicom.config.disable_value_validation():
        for keyword, value in {"PatientID": "P-1", **elements}.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(target)
    return target.getvalue()


def send(hospital: Hospital, data: bytes) -> Any:
    with open_spool() as spool:
        inspected = inspect_file(spool.write(data))
        return ingest_instance(inspected, tenant_id=hospital.tenant.id, by=Actor(name="test"), source="test")
