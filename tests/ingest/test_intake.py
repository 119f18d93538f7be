"""Storing instances: once, completely, for one tenant."""

import datetime
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.core.files.storage import default_storage
from django.db import DatabaseError, connection, connections, transaction

from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, OutOfSpaceError, TooLargeError
from apps.inference.models import InferenceJob
from apps.ingest.intake import ingest_instance, inspect_file
from apps.studies.models import Instance, Patient, Series, Study, object_key
from apps.studies.spool import open_spool
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital


def send(hospital: Hospital, data: bytes) -> Any:
    with open_spool() as spool:
        inspected = inspect_file(spool.write(data))
        return ingest_instance(inspected, tenant_id=hospital.tenant.id, by=Actor(name="test"), source="test")


def counts(hospital: Hospital) -> dict[str, int]:
    with tenant_tx(hospital.tenant.id):
        models = (Patient, Study, Series, Instance, InferenceJob, AuditEvent)
        return {model.__name__: model.objects.count() for model in models}


ONE_OF_EACH = {"Patient": 1, "Study": 1, "Series": 1, "Instance": 1, "InferenceJob": 1, "AuditEvent": 1}


def test_the_same_bytes_again_change_nothing(north: Hospital, make_film: Callable[..., Path]) -> None:
    data = make_film(size=128).read_bytes()
    assert send(north, data).is_new
    assert not send(north, data).is_new
    assert counts(north) == ONE_OF_EACH


def test_the_same_uid_with_other_bytes_is_a_conflict_and_keeps_the_first(
    north: Hospital, make_film: Callable[..., Path]
) -> None:
    first = make_film(size=128, sop_uid="1.2.3.4", study_uid="1.2.3", series_uid="1.2.3.1")
    other = make_film(size=128, sop_uid="1.2.3.4", study_uid="1.2.3", series_uid="1.2.3.1", accession_number="X")
    send(north, first.read_bytes())
    sha = hashlib.sha256(first.read_bytes()).hexdigest()
    with pytest.raises(ConflictError) as refused:
        send(north, other.read_bytes())
    assert refused.value.code == "duplicate-with-other-content"
    assert counts(north) == ONE_OF_EACH
    with tenant_tx(north.tenant.id):
        assert Instance.objects.get().sha256 == sha


def test_two_hospitals_may_have_the_same_instance(
    north: Hospital, south: Hospital, make_film: Callable[..., Path]
) -> None:
    data = make_film(size=128).read_bytes()
    ours, theirs = send(north, data), send(south, data)
    assert ours.is_new
    assert theirs.is_new
    for hospital in (north, south):
        assert default_storage.exists(object_key(hospital.tenant.id, hashlib.sha256(data).hexdigest()))
    assert counts(north) == counts(south) == ONE_OF_EACH


def test_the_same_film_many_times_at_once_is_stored_once(north: Hospital, make_film: Callable[..., Path]) -> None:
    data = make_film(size=128).read_bytes()

    def sent(_: int) -> bool:
        try:
            return send(north, data).is_new
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(sent, range(24))) == [False] * 23 + [True]
    assert counts(north) == ONE_OF_EACH


def test_films_without_a_patient_id_are_not_one_patient(north: Hospital, make_film: Callable[..., Path]) -> None:
    for seed in (1, 2):
        path = make_film(seed=seed, size=128)
        dataset = pydicom.dcmread(path)
        dataset.PatientID = ""
        dataset.save_as(path)
        send(north, path.read_bytes())
    assert counts(north)["Patient"] == 2


def test_a_refused_file_leaves_nothing_behind(north: Hospital, settings: Any) -> None:
    with pytest.raises(InvalidInputError):
        send(north, b"this is no film")
    assert set(counts(north).values()) == {0}
    assert [path for path in settings.SPOOL_DIR.rglob("*") if path.is_file()] == []


def test_the_spool_refuses_an_endless_file_early(settings: Any) -> None:
    with open_spool() as spool:
        writer = spool.open(limit=10)
        writer.write(b"123456789")
        with pytest.raises(TooLargeError):
            writer.write(b"0123")
        writer.abandon()


def test_the_object_holds_the_very_bytes_that_came(north: Hospital, make_film: Callable[..., Path]) -> None:
    data = make_film(size=128).read_bytes()
    send(north, data)
    with default_storage.open(object_key(north.tenant.id, hashlib.sha256(data).hexdigest())) as stored:
        assert stored.read() == data


def test_the_rows_say_what_the_film_says(north: Hospital, make_film: Callable[..., Path]) -> None:
    path = make_film(size=128, patient_id="P1", accession_number="A1", study_uid="2.25.8", series_uid="2.25.8.1")
    dataset = pydicom.dcmread(path)
    dataset.IssuerOfPatientID, dataset.PatientName, dataset.PatientAge = "HIS", "Ünal^Ay\\e", "061Y"
    dataset.PatientBirthDate, dataset.StudyDate, dataset.StudyTime = "19650302", "20260115", "143005.25"
    dataset.StudyDescription, dataset.ReferringPhysicianName, dataset.StudyID = "Thorax p.a.", "Roe^Jane", "77"
    dataset.SeriesDescription, dataset.SeriesNumber, dataset.SpecificCharacterSet = "PA", "3", "ISO_IR 192"
    dataset.save_as(path)
    send(north, path.read_bytes())
    with tenant_tx(north.tenant.id):
        instance = Instance.objects.select_related("series__study__patient").get()
    series, study, patient = instance.series, instance.series.study, instance.series.study.patient
    assert (patient.patient_id, patient.issuer_of_patient_id, study.patient_sex) == ("P1", "HIS", dataset.PatientSex)
    assert (study.patient_name, study.patient_birth_date) == ("Ünal^Ay\\e", datetime.date(1965, 3, 2))
    assert (study.study_date, study.study_time) == (datetime.date(2026, 1, 15), datetime.time(14, 30, 5))
    assert (study.accession_number, study.study_id, study.patient_age) == ("A1", "77", "061Y")
    assert (study.study_description, study.referring_physician_name) == ("Thorax p.a.", "Roe^Jane")
    assert (series.modality, series.body_part_examined) == (dataset.Modality, dataset.BodyPartExamined)
    assert (series.series_description, series.series_number) == ("PA", "3")
    assert (instance.sop_instance_uid, instance.sop_class_uid) == (dataset.SOPInstanceUID, dataset.SOPClassUID)
    assert (instance.rows, instance.columns, instance.size) == (128, 128, path.stat().st_size)
    assert instance.view_position == dataset.ViewPosition
    assert instance.attributes["Modality"] == dataset.Modality
    assert instance.transfer_syntax_uid == dataset.file_meta.TransferSyntaxUID
    assert instance.received == study.received


def test_a_known_uid_in_another_study_is_a_conflict_and_leaves_no_study(
    north: Hospital, make_film: Callable[..., Path]
) -> None:
    send(north, make_film(size=128, sop_uid="1.2.3.4", study_uid="1.2.3").read_bytes())
    with pytest.raises(ConflictError) as refused:
        send(north, make_film(size=128, sop_uid="1.2.3.4", study_uid="1.2.9", patient_id="Z").read_bytes())
    assert refused.value.code == "duplicate-with-other-content"
    assert counts(north) == ONE_OF_EACH


def test_films_of_one_new_patient_at_once_are_one_patient_s(north: Hospital, make_film: Callable[..., Path]) -> None:
    films = [make_film(seed=seed, size=128, patient_id="P1").read_bytes() for seed in range(12)]

    def sent(data: bytes) -> bool:
        try:
            return send(north, data).is_new
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(sent, films))
    assert counts(north)["Patient"] == 1
    assert counts(north)["Instance"] == len(films)


def test_films_of_one_new_study_at_once_leave_no_patient_without_a_study(
    north: Hospital, make_film: Callable[..., Path]
) -> None:
    """Without a PatientID each sender brings a patient of its own, and only one of them may stay."""
    films = []
    for seed in range(12):
        path = make_film(seed=seed, size=128, study_uid="2.25.9")
        dataset = pydicom.dcmread(path)
        dataset.PatientID = ""
        dataset.save_as(path)
        films.append(path.read_bytes())

    def sent(data: bytes) -> bool:
        try:
            return send(north, data).is_new
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(sent, films))
    assert (counts(north)["Patient"], counts(north)["Study"], counts(north)["Instance"]) == (1, 1, len(films))


def test_where_the_storage_fails_no_row_is_left(
    north: Hospital, make_film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutOfSpaceError("The object storage did not take the file; try again later.")

    monkeypatch.setattr("apps.studies.services.put_file", full)
    with pytest.raises(OutOfSpaceError):
        send(north, make_film(size=128).read_bytes())
    assert set(counts(north).values()) == {0}


def test_nobody_stores_without_a_tenant_in_force(db: None) -> None:
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select studies_store_instance('{}', '{}', '{}', '{}', '')")
