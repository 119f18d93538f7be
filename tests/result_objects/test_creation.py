"""When objects are created, when not, and what happens to a job that fails."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from apps.core.errors import UnavailableError
from apps.core.work_queue import JobState
from apps.inference.requests import request_inference
from apps.inference.services import claim_jobs
from apps.results import creation
from apps.results.models import ResultJob, ResultObject
from apps.results.objects.check import ObjectInvalid, check_object
from apps.results.services import request_results
from apps.studies.changes import ChosenDemographics, move_study
from apps.studies.models import Study
from apps.studies.storage import read_bytes
from apps.tenants.scope import tenant_tx
from ml.model.input_check import InputCheckResult
from tests.conftest import Hospital
from tests.result_objects.conftest import member, objects, opened, rows, want, work
from workers.pipeline import ClaimedReading, write_refusal

SR = "structured-report"


def jobs(hospital: Hospital) -> list[ResultJob]:
    with tenant_tx(hospital.tenant.pk):
        return list(ResultJob.objects.order_by("id"))


def test_a_tenant_that_wants_nothing_gets_nothing(
    north: Hospital, south: Hospital, read_study: Callable[..., Study]
) -> None:
    want(south, structured_report=True)

    assert objects(north, read_study(north, Effusion=0.9)) == {}
    assert jobs(north) == []
    assert set(objects(south, read_study(south, Effusion=0.9))) == {SR}
    assert rows(north) == []


def test_two_tenants_have_other_uids_for_the_same_image(
    north: Hospital, south: Hospital, read_study: Callable[..., Study]
) -> None:
    made = []
    for hospital in (north, south):
        want(hospital, structured_report=True)
        made.append(objects(hospital, read_study(hospital, Effusion=0.9))[SR].dataset)
    assert made[0].StudyInstanceUID == made[1].StudyInstanceUID
    assert made[0].SOPInstanceUID != made[1].SOPInstanceUID
    assert made[0].SeriesInstanceUID != made[1].SeriesInstanceUID


def test_the_same_reading_gives_the_same_bytes(north: Hospital, read_study: Callable[..., Study]) -> None:
    want(north, secondary_capture=True, structured_report=True)
    study = read_study(north, Effusion=0.9)
    first = objects(north, study)
    assert {kind: each.row.pk for kind, each in objects(north, study).items()} == {
        kind: each.row.pk for kind, each in first.items()
    }
    with tenant_tx(north.tenant.pk):
        ResultObject.objects.all().delete()

    again = objects(north, study)

    assert {kind: each.data for kind, each in again.items()} == {kind: each.data for kind, each in first.items()}


def test_a_new_reading_has_a_new_series_and_a_corrected_patient_a_new_object(
    north: Hospital, read_study: Callable[..., Study], finish: Callable[..., Any]
) -> None:
    want(north, structured_report=True)
    study = read_study(north, Effusion=0.9)
    objects(north, study)
    with tenant_tx(north.tenant.pk):
        move_study(
            study_id=study.pk, patient_id="P-2", issuer="", person_id=None, reason="Wrong patient.",
            demographics=ChosenDemographics("Meier^Anna", datetime.date(1980, 2, 1), "F"),
            user=north.radiologist, membership=member(north, north.radiologist),
        )  # fmt: skip
    work()
    with tenant_tx(north.tenant.pk):
        request_inference(study_id=study.pk)
    finish(north, Mass=0.8)
    objects(north, study)

    first, corrected, read_again = [opened(row) for row in rows(north)]
    assert (corrected.PatientName, corrected.PatientID, corrected.PatientBirthDate) == ("Meier^Anna", "P-2", "19800201")
    assert corrected.SeriesInstanceUID == first.SeriesInstanceUID
    assert (first.InstanceNumber, corrected.InstanceNumber) == (1, 2)
    assert corrected.SOPInstanceUID != first.SOPInstanceUID
    assert read_again.SeriesInstanceUID != first.SeriesInstanceUID
    assert "PredecessorDocumentsSequence" not in read_again


def test_the_worker_requests_objects_in_its_own_transaction(
    north: Hospital, version: Any, store_film: Callable[..., Any]
) -> None:
    want(north, structured_report=True)
    store_film(north)
    (claimed,) = claim_jobs(limit=1, version=version, worker="test")
    refusal = InputCheckResult(False, "not-a-chest-radiograph", "It shows a hand.")

    write_refusal(ClaimedReading(claim=claimed, refusal=refusal))

    (job,) = jobs(north)
    assert job.state == JobState.QUEUED
    work()
    assert b"It shows a hand." in read_bytes(rows(north)[0].object_key)


def test_a_withdrawn_study_gets_no_object(north: Hospital, read_study: Callable[..., Study]) -> None:
    want(north)
    study = read_study(north, Effusion=0.9)
    with tenant_tx(north.tenant.pk):
        request_results(study_ids=[study.pk, study.pk])
        request_results(study_ids=[study.pk])
        Study.objects.update(withdrawn=datetime.datetime.now(datetime.UTC), withdrawn_by=north.admin)
    work()
    assert rows(north) == []
    assert [job.state for job in jobs(north)] == [JobState.COMPLETE]


@pytest.mark.parametrize("failure", ["outage", "error", "invalid"])
def test_a_failure_waits_is_tried_again_or_ends(
    north: Hospital, read_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """No text that is stored names the patient, although the text of the error does."""
    errors = {
        "outage": UnavailableError("The object storage did not answer; try again later."),
        "error": ValueError("SYNTHETIC^Alpha"),
        "invalid": ObjectInvalid("The structured-report lacks PatientID."),
    }

    def broken(*_: Any) -> None:
        raise errors[failure]

    want(north, structured_report=True)
    study = read_study(north, Effusion=0.9)
    with monkeypatch.context() as patched:
        patched.setattr(creation, "build_structured_report" if failure == "error" else "check_object", broken)
        assert objects(north, study) == {}
    (job,) = jobs(north)
    if failure == "outage":
        assert (job.state, job.reason_code, job.attempts) == (JobState.QUEUED, "storage-unavailable", 0)
    else:
        assert job.state == JobState.REJECTED
        assert "SYNTHETIC" not in job.reason


def test_the_check_names_what_is_missing(north: Hospital, read_study: Callable[..., Study]) -> None:
    want(north, structured_report=True)
    made = objects(north, read_study(north, Effusion=0.9))[SR]
    check_object(made.data, SR)
    with pytest.raises(ObjectInvalid, match="another SOP class"):
        check_object(made.data, "encapsulated-pdf")
    with pytest.raises(ObjectInvalid, match="cannot be read back"):
        check_object(made.data[200:], SR)
    del made.dataset.PatientID
    made.dataset.SeriesNumber = None
    with pytest.raises(ObjectInvalid, match="lacks PatientID, SeriesNumber"):
        check_object(creation.encode(made.dataset), SR)
