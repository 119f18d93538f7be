"""Which image of a study is read, in any order of arrival, and which images are never read."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydicom import uid

from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob
from apps.studies.models import Instance
from apps.studies.selectors import get_study, instances_of, other_objects_of
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.studies import objects

Maker = Callable[[str, int], bytes]


def an(change: Any = None, **attributes: Any) -> Maker:
    return lambda study, number: objects.image(study, number, change=change, **attributes)


# The image that is read, and one beside it that is not.
PAIRS: dict[str, tuple[Maker, Maker]] = {
    "for processing": (an(), an(objects.for_processing)),
    "intent for processing": (an(), an(PresentationIntentType="FOR PROCESSING")),
    "screen capture": (an(), an(objects.screen_capture)),
    "annotated copy": (an(), an(ImageType=["DERIVED", "SECONDARY"])),
    "another product": (an(), an(objects.result_of_another_product)),
    "research": (an(), an(ContentQualification="RESEARCH")),
    "derived by the modality": (an(), an(ImageType=["DERIVED", "PRIMARY"])),
    "capture of a film": (an(ImageType=["DERIVED", "PRIMARY"]), an(objects.capture_of_a_film)),
    "view": (an(), an(ViewPosition="AP")),
    "original before view": (an(ViewPosition="AP"), an(ImageType=["DERIVED", "PRIMARY"])),
    "lateral": (an(ViewPosition="AP"), an(ViewPosition="LL", PatientOrientation=["A", "F"])),
    "two frames": (an(ViewPosition="AP"), an(objects.two_frames)),
    "signed codestream": (an(ViewPosition="AP"), an(objects.signed_codestream)),
}
ALONE: dict[str, tuple[Maker, str]] = {
    "for processing": (an(objects.for_processing), "for-processing"),
    "screen capture": (an(objects.screen_capture), "derived-image"),
    "annotated copy": (an(ImageType=["DERIVED", "SECONDARY"]), "derived-image"),
    "another product": (an(objects.result_of_another_product), "derived-image"),
    "research": (an(ContentQualification="RESEARCH"), "not-for-clinical-use"),
    "two frames": (an(objects.two_frames), "multi-frame"),
    "signed codestream": (an(objects.signed_codestream), "codestream-mismatch"),
    "own": (an(ImageType=["DERIVED", "PRIMARY"], Manufacturer="Checxray"), "own-object"),
}
DOCUMENTS = (
    uid.ComprehensiveSRStorage,
    uid.ChestCADSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.SegmentationStorage,
    uid.EncapsulatedPDFStorage,
)


def study_uids(count: int) -> list[str]:
    return [f"1.2.826.0.1.{number}" for number in range(1, count + 1)]


def job_of(hospital: Hospital, study: str) -> InferenceJob:
    with tenant_tx(hospital.tenant.id):
        jobs = InferenceJob.objects.select_related("instance").filter(study__study_instance_uid=study)
        return jobs.latest("id")


def read_number(hospital: Hospital, study: str) -> str:
    """The number of the instance that the latest, complete reading is of."""
    job = job_of(hospital, study)
    assert job.state == JobState.COMPLETE, (study, job.reason)
    assert job.instance is not None
    return job.instance.sop_instance_uid.rpartition(".")[2]


def jobs_of(hospital: Hospital) -> int:
    with tenant_tx(hospital.tenant.id):
        return InferenceJob.objects.count()


def test_the_best_image_is_read_whatever_came_last(
    starter: Any, north: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    studies = study_uids(2 * len(PAIRS))
    for number, (best, other) in enumerate(PAIRS.values()):
        for study, makers in zip(studies[2 * number :], ((best, other), (other, best)), strict=False):
            for maker in makers:
                send(north, maker(study, 1 if maker is best else 2))
    read_studies()
    assert [read_number(north, study) for study in studies] == ["1"] * len(studies)


def test_what_arrives_later_is_read_only_if_it_is_better(
    starter: Any, north: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    pairs = dict(zip(study_uids(len(PAIRS)), PAIRS.values(), strict=True))
    for study, (_, other) in pairs.items():
        send(north, other(study, 2))
    read_studies()
    for study, (best, _) in pairs.items():
        send(north, best(study, 1))
    read_studies()
    assert {read_number(north, study) for study in pairs} == {"1"}
    before = jobs_of(north)
    for study, (_, other) in pairs.items():
        send(north, other(study, 3))
    assert jobs_of(north) == before
    newer = next(iter(pairs))
    send(north, objects.image(newer, 4))
    read_studies()
    assert read_number(north, newer) == "4", "Of equals, the newest may be a repeat."


def test_what_is_never_read_is_stored_and_says_why(
    starter: Any, north: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    studies = dict(zip(study_uids(len(ALONE)), ALONE.values(), strict=True))
    for study, (maker, _) in studies.items():
        send(north, maker(study, 1))
    read_studies()
    for study, (_, code) in studies.items():
        job = job_of(north, study)
        assert (job.state, job.reason_code) == (JobState.REJECTED, code), study
        assert job.reason.endswith(".")
    with tenant_tx(north.tenant.id):
        assert Instance.objects.count() == len(studies)


def test_documents_are_stored_and_change_nothing(
    starter: Any, north: Hospital, south: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    before, after, alone = study_uids(3)
    for number, sop_class in enumerate(DOCUMENTS, start=1):
        send(north, objects.document(before, sop_class, number))
        send(north, objects.document(alone, sop_class, number))
    assert jobs_of(north) == 0
    send(north, objects.image(before))
    send(north, objects.image(after))
    assert read_studies() == 2
    for number, sop_class in enumerate(DOCUMENTS, start=1):
        sent = objects.document(after, sop_class, number)
        assert send(north, sent).is_new
        assert not send(north, sent).is_new
        send(south, objects.document(after, sop_class, number))
    assert jobs_of(north) == 2
    assert jobs_of(south) == 0
    with tenant_tx(north.tenant.id):
        study = get_study(after)
        assert len(instances_of(study)) == 1
        assert [each.sop_class_uid for each in other_objects_of(study)] == list(DOCUMENTS)
        assert {(each.rows, each.columns) for each in other_objects_of(study)} == {(None, None)}


def test_an_image_that_cannot_be_decoded_leaves_the_study_to_the_next(
    starter: Any, north: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    (study,) = study_uids(1)
    send(north, objects.image(study, 1, change=damaged_codestream))
    read_studies()
    assert job_of(north, study).state == JobState.REJECTED
    send(north, objects.image(study, 2, ViewPosition="AP"))
    read_studies()
    assert read_number(north, study) == "2"


def damaged_codestream(dataset: Any) -> None:
    objects.signed_codestream(dataset)
    dataset.PixelRepresentation = 1
    data = bytearray(dataset.PixelData)
    data[300:-40] = bytes(len(data) - 340)
    dataset.PixelData = bytes(data)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_shared_cases(
    starter: Any, north: Hospital, send: Callable[..., Any], read_studies: Callable[[], int], test_data: Any,
    order: Sequence[int],
) -> None:  # fmt: skip
    for case in ("m60", "m66"):
        files = sorted((test_data / "dicom" / "cases").glob(f"{case}_*"))
        for number in order:
            send(north, files[number - 1].read_bytes())
    ambiguous = next((test_data / "dicom" / "cases").glob("c07b*"))
    send(north, ambiguous.read_bytes())
    read_studies()
    with tenant_tx(north.tenant.id):
        jobs = InferenceJob.objects.select_related("instance").order_by("study_id")
        found = [(job.state, job.reason_code, job.instance and job.instance.sop_class_uid) for job in jobs]
    dx = uid.DigitalXRayImageStorageForPresentation
    assert found == [
        (JobState.COMPLETE, "", dx),
        (JobState.COMPLETE, "", dx),
        (JobState.REJECTED, "codestream-mismatch", dx),
    ]
