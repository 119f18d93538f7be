"""Demographics belong to the study as it was received; contradictions are stored as conflicts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from apps.audit.models import AuditEvent
from apps.studies.models import DemographicsConflict, Instance, Patient, PlaceholderPatientID, Study
from apps.studies.selectors import in_conflict
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.studies.demographics import JANE, JOHN, film_of, send


def conflicts(hospital: Hospital) -> dict[str, bool]:
    """Of each study, by its name, whether it is in conflict."""
    with tenant_tx(hospital.tenant.id):
        studies = Study.objects.annotate(conflict=in_conflict()).order_by("received")
        return {study.display_name: study.conflict for study in studies}


def test_each_study_says_what_its_own_images_say_and_both_are_in_conflict(
    north: Hospital, south: Hospital, make_film: Callable[..., Path]
) -> None:
    john = film_of(make_film, 1, **JOHN)
    assert not send(north, john).in_conflict
    assert not send(south, film_of(make_film, 2, **JANE)).in_conflict

    assert send(north, film_of(make_film, 2, **JANE)).in_conflict

    assert conflicts(north) == {"Doe, John": True, "Smith, Jane": True}
    assert conflicts(south) == {"Smith, Jane": False}
    assert send(north, john).in_conflict, "sent again, the answer is the same as long as no person settled it"
    with tenant_tx(north.tenant.id):
        assert Patient.objects.count() == 1
        assert DemographicsConflict.objects.count() == 1
        assert AuditEvent.objects.filter(action=AuditEvent.Action.CONFLICT_OPENED).count() == 1


@pytest.mark.parametrize(
    ("first", "second", "is_conflict"),
    [
        ({}, {"PatientName": "DOE ^ JOHN^^"}, False),
        ({}, {"PatientName": "Doe^Joan"}, True),
        ({}, {"PatientName": ""}, False),
        ({}, {"PatientBirthDate": "19500102"}, True),
        ({}, {"PatientBirthDate": ""}, False),
        ({}, {"PatientBirthDate": "1950.01.01"}, False),
        ({}, {"PatientSex": "F"}, True),
        ({}, {"PatientSex": "m"}, False),
        ({}, {"PatientSex": None}, False),
        ({}, {"IssuerOfPatientID": "OTHER", "PatientName": "Smith^Jane"}, False),
        ({"PatientName": "Yamada^Tarou"}, {"PatientName": "Yamada^Tarou=山田^太郎"}, False),
        ({"PatientName": "Yamada^Tarou=山田^太郎"}, {"PatientName": "Yamada^Tarou=山田^次郎"}, True),
        ({"PatientName": "=山田^太郎"}, {"PatientName": "Yamada^Tarou"}, False),
        (
            {"PatientName": "Müller^Zoë"},
            {"PatientName": "Müller^Zoë", "SpecificCharacterSet": "ISO_IR 100"},
            False,
        ),
    ],
)
def test_what_is_a_difference_between_two_studies(
    north: Hospital, make_film: Callable[..., Path], first: dict[str, Any], second: dict[str, Any], is_conflict: bool
) -> None:
    send(north, film_of(make_film, 1, **{**JOHN, **first}))
    assert send(north, film_of(make_film, 2, **{**JOHN, **first, **second})).in_conflict is is_conflict
    with tenant_tx(north.tenant.id):
        assert DemographicsConflict.objects.count() == is_conflict


@pytest.mark.parametrize(
    "patient_id", ["", "0", "000000", " unknown ", "N/A", "n.a.", "NONE", "Anonymous", "?", "XXX", "-"]
)
def test_a_placeholder_identifies_no_person(north: Hospital, make_film: Callable[..., Path], patient_id: str) -> None:
    for seed, person in enumerate((JOHN, JANE), start=1):
        assert not send(north, film_of(make_film, seed, PatientID=patient_id, **person)).in_conflict
    assert conflicts(north) == {"Doe, John": False, "Smith, Jane": False}
    with tenant_tx(north.tenant.id):
        assert Patient.objects.filter(is_identified=False).count() == 2


def test_a_hospital_has_placeholders_of_its_own(
    north: Hospital, south: Hospital, make_film: Callable[..., Path]
) -> None:
    with tenant_tx(north.tenant.id):
        PlaceholderPatientID.objects.create(value="Notfall", key="notfall", created_by=north.admin)
    for hospital in (north, south):
        for seed, person in enumerate((JOHN, JANE), start=1):
            send(hospital, film_of(make_film, seed, PatientID="NOTFALL", **person))
    assert conflicts(north) == {"Doe, John": False, "Smith, Jane": False}
    assert conflicts(south) == {"Doe, John": True, "Smith, Jane": True}


def test_images_of_one_study_that_differ_are_in_conflict_and_both_may_be_read(
    north: Hospital, make_film: Callable[..., Path]
) -> None:
    assert not send(north, film_of(make_film, 1, study="2.25.5", **JOHN)).in_conflict
    assert send(north, film_of(make_film, 2, study="2.25.5", **{**JOHN, "PatientName": "Doe^Jon"})).in_conflict
    assert not send(north, film_of(make_film, 3, PatientID="P-2", **JANE)).in_conflict
    with tenant_tx(north.tenant.id):
        (conflict,) = DemographicsConflict.objects.select_related("study")
        assert conflict.study is not None
        assert conflict.study.study_instance_uid == "2.25.5"
        assert not Instance.objects.filter(is_held=True).exists()


def test_an_image_of_another_patient_in_a_study_is_stored_and_held(
    north: Hospital, make_film: Callable[..., Path]
) -> None:
    send(north, film_of(make_film, 1, study="2.25.5", **JOHN))
    assert send(north, film_of(make_film, 2, study="2.25.5", PatientID="P-2", **JANE)).in_conflict
    with tenant_tx(north.tenant.id):
        assert [each.is_held for each in Instance.objects.order_by("received")] == [False, True]
        study = Study.objects.select_related("patient").get()
        assert (study.display_name, study.patient.patient_id) == ("Doe, John", "P-1")


def test_a_study_under_a_placeholder_takes_the_patient_that_a_later_image_names(
    north: Hospital, make_film: Callable[..., Path]
) -> None:
    send(north, film_of(make_film, 1, study="2.25.5", PatientID="UNKNOWN", **JOHN))
    assert not send(north, film_of(make_film, 2, study="2.25.5", PatientID="P-7", **JOHN)).in_conflict
    with tenant_tx(north.tenant.id):
        assert Study.objects.select_related("patient").get().patient.patient_id == "P-7"


def test_before_a_reading_the_study_says_what_the_image_to_read_says(
    north: Hospital, make_film: Callable[..., Path]
) -> None:
    derived = film_of(make_film, 1, study="2.25.5", ImageType=["DERIVED", "SECONDARY"], **JANE)
    send(north, derived)
    assert conflicts(north) == {"Smith, Jane": False}
    assert send(north, film_of(make_film, 2, study="2.25.5", **JOHN)).in_conflict
    assert conflicts(north) == {"Doe, John": True}
    # A worse image that comes later changes nothing.
    send(north, film_of(make_film, 3, study="2.25.5", ImageType=["DERIVED", "SECONDARY"], **JANE))
    assert conflicts(north) == {"Doe, John": True}


def test_of_two_studies_that_arrive_at_once_none_overlooks_the_other(
    north: Hospital, make_film: Callable[..., Path]
) -> None:
    films = [film_of(make_film, seed, **(JOHN if seed % 2 else JANE)) for seed in range(12)]

    def sent(data: bytes) -> bool:
        try:
            return send(north, data).in_conflict
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(sent, films))
    assert any(answers)
    with tenant_tx(north.tenant.id):
        assert Patient.objects.count() == 1
        assert DemographicsConflict.objects.filter(settled__isnull=True).count() == 1
        assert Study.objects.annotate(conflict=in_conflict()).filter(conflict=True).count() == len(films)
