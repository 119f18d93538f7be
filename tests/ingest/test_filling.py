"""Filling demographics after an upgrade: before it, older studies do not show another patient's name."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from apps.studies.models import DemographicsConflict, Instance, Patient, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.studies.demographics import JANE, JOHN, film_of, send


def as_before(hospital: Hospital) -> None:
    """The rows as the migration leaves those of an older version: one patient for each ID, and nothing else known."""
    with tenant_tx(hospital.tenant.id):
        DemographicsConflict.objects.all().delete()
        Instance.objects.update(patient_id="", patient_name="", patient_birth_date=None, demographics_key=None)
        Study.objects.update(patient_name="", patient_birth_date=None, patient_sex="", demographics_key=None)
        for patient_id in set(Patient.objects.exclude(patient_id="").values_list("patient_id", flat=True)):
            first = Patient.objects.filter(patient_id=patient_id).order_by("pk").first()
            assert first is not None
            Study.objects.filter(patient__patient_id=patient_id).update(patient=first)
            Patient.objects.filter(pk=first.pk).update(is_identified=True)


def fill_demographics() -> str:
    out = io.StringIO()
    call_command("fill_study_demographics", stdout=out, stderr=out)
    return out.getvalue()


def names(hospital: Hospital) -> list[str]:
    with tenant_tx(hospital.tenant.id):
        return sorted(study.display_name for study in Study.objects.all())


def test_studies_from_before_are_filled_and_compared(
    north: Hospital, south: Hospital, make_film: Callable[..., Path]
) -> None:
    for hospital in (north, south):
        for seed, (patient_id, person) in enumerate(
            [("P-1", JOHN), ("P-1", JANE), ("UNKNOWN", JOHN), ("UNKNOWN", JANE)], start=1
        ):
            send(hospital, film_of(make_film, seed, PatientID=patient_id, **person))
        as_before(hospital)
    assert names(north) == ["Name not verified"] * 4

    assert "north  4 of 4 studies" in fill_demographics()

    for hospital in (north, south):
        assert names(hospital) == ["Doe, John", "Doe, John", "Smith, Jane", "Smith, Jane"]
        with tenant_tx(hospital.tenant.id):
            (conflict,) = DemographicsConflict.objects.select_related("patient")
            assert conflict.patient is not None
            assert conflict.patient.patient_id == "P-1"
            unknown = Study.objects.filter(patient__patient_id="UNKNOWN")
            assert unknown.values("patient").distinct().count() == 2
    assert "0 studies checked" in fill_demographics()


def test_an_object_that_cannot_be_read_is_listed_and_tried_again(
    north: Hospital, make_film: Callable[..., Path]
) -> None:
    for seed, person in enumerate((JOHN, JANE), start=1):
        send(north, film_of(make_film, seed, PatientID=f"P-{seed}", **person))
    as_before(north)
    with tenant_tx(north.tenant.id):
        lost = Instance.objects.earliest("received")
    with default_storage.open(lost.object_key) as stored:
        content = stored.read()
    default_storage.delete(lost.object_key)

    with pytest.raises(CommandError, match="1 images could not be read"):
        fill_demographics()
    assert names(north) == ["Name not verified", "Smith, Jane"]

    send(north, content)
    fill_demographics()
    assert names(north) == ["Doe, John", "Smith, Jane"]
