"""Rejection of images by a user or a rejection note, before or after the reading, and its withdrawal."""

from collections.abc import Callable
from typing import Any

import pytest
from pydicom import uid

from apps.audit.models import AuditEvent
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob
from apps.inference.rejections import reject_image, withdraw_rejection
from apps.inference.services import claim_jobs, complete_jobs
from apps.reports.selectors import draft_of
from apps.studies.models import ImageRejection, Instance, Study
from apps.studies.selectors import get_study, is_in_conflict
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.studies import objects

STUDY = "1.2.826.0.1.88"
FIRST, SECOND = f"{STUDY}.1.1", f"{STUDY}.1.2"
QUALITY = ImageRejection.Code.QUALITY


def reject(hospital: Hospital, instance: str, user: Any = None, code: str = QUALITY) -> None:
    user = user or hospital.technologist
    membership = Membership.objects.get(user_id=user.pk)
    reject_image(
        study=get_study(STUDY), sop_instance_uid=instance, code=code, reason="Motion.", user=user, membership=membership
    )


def withdraw(hospital: Hospital, instance: str) -> None:
    user = hospital.radiologist
    membership = Membership.objects.get(user_id=user.pk)
    withdraw_rejection(study=get_study(STUDY), sop_instance_uid=instance, user=user, membership=membership)


def outcome(hospital: Hospital) -> tuple[str, str, str]:
    """State, reason and instance of the latest reading."""
    with tenant_tx(hospital.tenant.id):
        job = InferenceJob.objects.select_related("instance").latest("id")
        return job.state, job.reason_code, job.instance.sop_instance_uid if job.instance else ""


@pytest.fixture
def two_images(starter: Any, north: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]) -> None:
    """A study of a PA image, which is read, and an AP image."""
    send(north, objects.image(STUDY, 1))
    send(north, objects.image(STUDY, 2, ViewPosition="AP"))
    read_studies()
    assert outcome(north) == (JobState.COMPLETE, "", FIRST)


def test_the_next_best_image_is_read_and_the_rejection_can_be_taken_back(
    two_images: None, north: Hospital, read_studies: Callable[[], int]
) -> None:
    with tenant_tx(north.tenant.id):
        reject(north, SECOND)
    assert outcome(north) == (JobState.COMPLETE, "", FIRST), "An image that was not read changes nothing."
    with tenant_tx(north.tenant.id):
        withdraw(north, SECOND)
        reject(north, FIRST)
        assert draft_of(Study.objects.get()) is None, "The draft was about the rejected image."
    read_studies()
    assert outcome(north) == (JobState.COMPLETE, "", SECOND)
    with tenant_tx(north.tenant.id):
        reject(north, SECOND)
    read_studies()
    assert outcome(north)[:2] == (JobState.REJECTED, "image-rejected")
    with tenant_tx(north.tenant.id):
        withdraw(north, FIRST)
    read_studies()
    assert outcome(north) == (JobState.COMPLETE, "", FIRST)
    with tenant_tx(north.tenant.id):
        acts = list(AuditEvent.objects.filter(action__startswith="image.").order_by("at").values_list("action", "user"))
        assert ImageRejection.objects.count() == 3, "A withdrawn rejection stays as a row."
    worker, reader = north.technologist.pk, north.radiologist.pk
    assert acts == [
        ("image.rejected", worker), ("image.rejection-withdrawn", reader), ("image.rejected", worker),
        ("image.rejected", worker), ("image.rejection-withdrawn", reader),
    ]  # fmt: skip


def test_a_rejection_that_comes_while_the_image_is_read_is_seen_at_the_end(
    starter: Any, north: Hospital, send: Callable[..., Any]
) -> None:
    from tests.inference.test_jobs import as_result

    send(north, objects.image(STUDY, 1))
    (held,) = claim_jobs(limit=1, version=starter, worker="test")
    with tenant_tx(north.tenant.id):
        reject(north, FIRST)
    with tenant_tx(north.tenant.id):
        complete_jobs(results=[as_result(held)], version=starter)
    assert outcome(north)[0] == JobState.QUEUED


def test_who_may_reject_what(two_images: None, north: Hospital, south: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        for refused, expected in (
            ({"user": north.admin}, NotPermittedError),
            ({"code": "113000"}, InvalidInputError),
            ({"instance": "1.2.3"}, NotFoundError),
        ):
            with pytest.raises(expected):
                reject(north, **{"instance": FIRST, **refused})  # type: ignore[arg-type]
        with pytest.raises(ConflictError):
            withdraw(north, FIRST)
        reject(north, FIRST)
        with pytest.raises(ConflictError):
            reject(north, FIRST)
    with tenant_tx(south.tenant.id), pytest.raises(NotFoundError):
        reject(south, FIRST)


@pytest.mark.parametrize("code", list(ImageRejection.Code.values))
def test_a_rejection_note_takes_its_images_out_of_use(
    two_images: None, north: Hospital, south: Hospital, send: Callable[..., Any], read_studies: Callable[[], int],
    code: str,
) -> None:  # fmt: skip
    send(south, objects.rejection_note(STUDY, [FIRST], code=code))
    assert outcome(north) == (JobState.COMPLETE, "", FIRST), "Another hospital's note."
    send(north, objects.rejection_note(STUDY, [FIRST], code=code))
    read_studies()
    assert outcome(north) == (JobState.COMPLETE, "", SECOND)
    send(north, objects.rejection_note(STUDY, [FIRST, SECOND, f"{STUDY}.1.3"], 2, code=code))
    read_studies()
    assert outcome(north)[:2] == (JobState.REJECTED, "image-rejected")
    send(north, objects.image(STUDY, 3))
    read_studies()
    assert outcome(north)[:2] == (JobState.REJECTED, "image-rejected"), "It was rejected before it came."
    send(north, objects.image(STUDY, 4, ViewPosition="AP"))
    read_studies()
    assert outcome(north) == (JobState.COMPLETE, "", f"{STUDY}.1.4")


def test_a_note_before_its_image_and_notes_that_reject_nothing(
    starter: Any, north: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    send(north, objects.rejection_note(STUDY, [FIRST]))
    with tenant_tx(north.tenant.id):
        assert not InferenceJob.objects.exists()
    send(north, objects.image(STUDY, 1))
    read_studies()
    assert outcome(north)[:2] == (JobState.REJECTED, "image-rejected")
    send(north, objects.image(STUDY, 2))
    read_studies()
    for number, note in enumerate(
        ({"code": "113000"}, {"scheme": "99ACME"}, {"evidence_study": "1.2.3"}, {"code": "113002"}), start=2
    ):
        send(north, objects.rejection_note(STUDY, [SECOND], number, **note))
    send(north, objects.document(STUDY, uid.KeyObjectSelectionDocumentStorage, 9))
    assert outcome(north) == (JobState.COMPLETE, "", SECOND)
    with tenant_tx(north.tenant.id):
        assert ImageRejection.objects.count() == 1
        assert Instance.objects.filter(rows=None).count() == 6


def test_a_study_follows_the_images_that_are_left(
    starter: Any, north: Hospital, send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    """The first image was taken under another patient's worklist entry; the right one was held for that."""
    send(north, objects.image(STUDY, 1, PatientID="P-1", PatientName="Doe^John"))
    send(north, objects.image(STUDY, 2, PatientID="P-2", PatientName="Smith^Jane"))
    read_studies()
    assert outcome(north) == (JobState.COMPLETE, "", FIRST)
    with tenant_tx(north.tenant.id):
        assert (said(), is_in_conflict(Study.objects.get().pk)) == (("P-1", "Doe, John"), True)
        reject(north, FIRST, code=ImageRejection.Code.WORKLIST)
        assert (said(), is_in_conflict(Study.objects.get().pk)) == (("P-2", "Smith, Jane"), False)
    read_studies()
    assert outcome(north) == (JobState.COMPLETE, "", SECOND)
    with tenant_tx(north.tenant.id):
        withdraw(north, FIRST)
        assert (said(), is_in_conflict(Study.objects.get().pk)) == (("P-2", "Smith, Jane"), True)
        assert Instance.objects.get(sop_instance_uid=FIRST).is_held
    read_studies()
    assert outcome(north) == (JobState.COMPLETE, "", SECOND)


def said() -> tuple[str, str]:
    study = Study.objects.select_related("patient").get()
    return study.patient.patient_id, study.display_name
