"""Taking instances in: once, whole, for one tenant."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connections

from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, TooLargeError
from apps.inference.intake import inspect_file, take_in
from apps.inference.models import InferenceJob
from apps.studies.models import Instance, Patient, Series, Study
from apps.studies.spool import open_spool
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital


def send(hospital: Hospital, data: bytes) -> Any:
    with open_spool() as spool:
        inspected = inspect_file(spool.write(data))
        return take_in(inspected, tenant_id=hospital.tenant.id, by=Actor(name="test"), source="test")


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
    sha = send(north, first.read_bytes()).instance.sha256
    with pytest.raises(ConflictError) as refused:
        send(north, other.read_bytes())
    assert refused.value.code == "duplicate-with-other-content"
    assert counts(north) == ONE_OF_EACH
    with tenant_tx(north.tenant.id):
        assert Instance.objects.get().sha256 == sha


def test_a_study_of_another_patient_is_a_conflict(north: Hospital, make_film: Callable[..., Path]) -> None:
    send(north, make_film(seed=1, size=128, study_uid="1.2.3", patient_id="A").read_bytes())
    with pytest.raises(ConflictError) as refused:
        send(north, make_film(seed=2, size=128, study_uid="1.2.3", patient_id="B").read_bytes())
    assert refused.value.code == "study-of-another-patient"
    assert counts(north)["Instance"] == 1


def test_two_hospitals_may_have_the_same_instance(
    north: Hospital, south: Hospital, make_film: Callable[..., Path]
) -> None:
    data = make_film(size=128).read_bytes()
    ours, theirs = send(north, data), send(south, data)
    assert ours.is_new
    assert theirs.is_new
    assert ours.instance.object_key != theirs.instance.object_key
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
    import pydicom

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
    instance = send(north, data).instance
    with default_storage.open(instance.object_key) as stored:
        assert stored.read() == data
