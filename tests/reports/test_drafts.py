"""What a reader has not signed yet: text, verdicts, own findings, blind reading. Then what a signed version keeps."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection

from apps.audit.models import AuditEvent
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, WithdrawnError
from apps.inference.models import Finding, InferenceJob
from apps.inference.rejections import reject_image
from apps.inference.requests import request_inference
from apps.inference.withdrawal import withdraw_study
from apps.reports.models import BlindStep, ReaderFinding, Report
from apps.reports.selectors import presence_of, report_of, reviews_of, stored_draft
from apps.reports.services import (
    DraftConflictError,
    add_reader_finding,
    agree_with_rest,
    commit_impression,
    discard_draft,
    remove_reader_finding,
    render_pdf,
    review_finding,
    save_draft,
    sign_report,
)
from apps.studies.models import Study
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_tx
from apps.tenants.services import add_member
from tests.conftest import Hospital
from tests.reports.test_amendments import run_together
from tests.reports.test_services import words
from tests.reports.test_states import blind


def who(user: Any) -> dict[str, Any]:
    return {"user": user, "membership": Membership.objects.get(user=user)}


@pytest.fixture
def study(north: Hospital, read_study: Callable[..., Study]) -> Study:
    return read_study(north, {"size": 256}, Effusion=0.71, Mass=0.6)


@pytest.fixture
def colleague(north: Hospital) -> Any:
    """A second radiologist of the hospital."""
    from apps.accounts.models import User

    user = User.objects.create_user("second@north.example", "seven lamps on a quiet shore", full_name="Second Reader")
    add_member(tenant=north.tenant, user_id=user.pk, role=Role.RADIOLOGIST)
    return user


def test_of_two_tabs_the_late_one_is_shown_the_stored_text(north: Hospital, study: Study, colleague: Any) -> None:
    with tenant_tx(north.tenant.id):
        first = save_draft(study=study, impression="One\x00.", revision=0, **who(north.radiologist))
        assert (first.revision, first.impression, first.saved_by) == (1, "One.", north.radiologist)
        again = save_draft(study=study, impression="One.", revision=0, **who(north.radiologist))
        assert again.revision == 1, "The answer to the first request got lost."
        with pytest.raises(DraftConflictError, match="changed this text") as refused:
            save_draft(study=study, impression="Two.", revision=0, **who(colleague))
        assert (refused.value.stored.revision, refused.value.stored.impression) == (1, "One.")
        assert save_draft(study=study, impression="Two.", revision=1, **who(colleague)).revision == 2


def test_a_tab_from_before_the_signature_begins_no_amendment(north: Hospital, study: Study) -> None:
    reader = north.radiologist
    with tenant_tx(north.tenant.id):
        save_draft(study=study, impression="Draft.", revision=0, **who(reader))
        sign_report(study=study, impression="Signed.", agree_rest=True, **who(reader))
        for revision in (0, 1):
            with pytest.raises(DraftConflictError, match="signed this report") as refused:
                save_draft(study=study, impression="Late.", revision=revision, **who(reader))
        assert stored_draft(study, report_of(study)).impression == ""
        newest = refused.value.stored.revision
        assert save_draft(study=study, impression="Next.", revision=newest, **who(reader)).impression == "Next."


def test_the_result_of_the_ai_leaves_a_saved_text(
    north: Hospital, store_film: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> None:
    study = store_film(north, size=256).study
    with tenant_tx(north.tenant.id):
        save_draft(study=study, impression="Typed while it waits.", revision=0, **who(north.radiologist))
    job = finish(north, Effusion=0.7)
    with tenant_tx(north.tenant.id):
        draft = stored_draft(study, None)
        assert (draft.impression, draft.revision, draft.job_id) == ("Typed while it waits.", 1, job.pk)


def test_a_study_is_signed_without_waiting_for_the_ai(
    north: Hospital, store_film: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> None:
    study, reader = store_film(north, size=256).study, north.radiologist
    with tenant_tx(north.tenant.id):
        with pytest.raises(ConflictError, match="or sign without it"):
            sign_report(study=study, impression="Hip.", **who(reader))
        report = sign_report(study=study, impression="Hip.", without_ai=True, **who(reader))
        assert report.job is None
        text = words(render_pdf(study=study))
    assert "No AI reading was used for this report." in text
    finish(north, Effusion=0.9)
    with tenant_tx(north.tenant.id):
        assert words(render_pdf(study=study)) == text
        with pytest.raises(ConflictError, match="arrived since"):
            sign_report(study=study, impression="Hip.", amends=1, reason="Late.", without_ai=True, **who(reader))


def test_a_study_that_was_never_queued_is_signed(north: Hospital, store_film: Callable[..., Any]) -> None:
    study = store_film(north, size=256).study
    with tenant_tx(north.tenant.id):
        InferenceJob.objects.all().delete()
        assert sign_report(study=study, impression="Knee.", **who(north.radiologist)).job is None


def test_each_flagged_finding_needs_a_verdict(north: Hospital, study: Study) -> None:
    reader = north.radiologist
    with tenant_tx(north.tenant.id):
        found = {each.label: each for each in Finding.objects.filter(job__study=study)}
        review_finding(finding=found["Mass"], verdict="disagree", **who(reader))
        with pytest.raises(ConflictError, match="without your verdict: Effusion"):
            sign_report(study=study, impression="Read.", **who(reader))
        review_finding(finding=found["Mass"], verdict="", **who(reader))
        assert AuditEvent.objects.filter(action="finding.verdict-withdrawn", object_id=found["Mass"].pk).count() == 1
        with pytest.raises(InvalidInputError, match="Write an impression"):
            sign_report(study=study, impression=" \n", agree_rest=True, **who(reader))
        review_finding(finding=found["Mass"], verdict="disagree", **who(reader))
        assert agree_with_rest(study=study, **who(reader)) == ["Effusion"]
        report = sign_report(study=study, impression="Read.", **who(reader))
    assert report.verdicts == {"Effusion": "agree", "Mass": "disagree"}


def test_an_amendment_leaves_what_the_former_version_said(north: Hospital, study: Study) -> None:
    reader = north.radiologist
    with tenant_tx(north.tenant.id):
        mass = Finding.objects.get(job__study=study, label="Mass")
        box = (10, 20, 30, 40)
        image = mass.job.instance.sop_instance_uid  # type: ignore[union-attr]
        added = add_reader_finding(study=study, name="nodulo", sop_instance_uid=image, box=box, **who(reader))
        first = sign_report(study=study, impression="Mass, nodule.", agree_rest=True, **who(reader))
        assert first.reader_findings == [
            {"id": str(added.pk), "name": "Nodule", "label": "Nodule", "sop_instance_uid": image, "box": list(box)}
        ]
        with pytest.raises(ConflictError, match="signed already"):
            review_finding(finding=mass, verdict="disagree", **who(reader))
        with pytest.raises(ConflictError, match="signed already"):
            remove_reader_finding(study=study, finding_id=added.pk, **who(reader))

        def begin() -> None:
            revision = stored_draft(study, report_of(study)).revision
            save_draft(study=study, impression="No mass.", revision=revision, **who(reader))
            review_finding(finding=mass, verdict="disagree", **who(reader))
            remove_reader_finding(study=study, finding_id=added.pk, **who(reader))

        begin()
        discard_draft(study=study, **who(reader))
        assert reviews_of(mass.job)["Mass"].verdict == "agree", "The draft is withdrawn, with its verdicts."
        assert ReaderFinding.objects.get().as_signed == first.reader_findings[0]
        begin()
        second = sign_report(study=study, impression="No mass.", amends=1, reason="Second look.", **who(reader))
        assert (second.verdicts["Mass"], second.reader_findings) == ("disagree", [])
        kept = Report.objects.get(number=1)
        assert (kept.verdicts["Mass"], len(kept.reader_findings)) == ("agree", 1)
    for change in (lambda: Report.objects.update(verdicts={}), lambda: Report.objects.update(reader_findings=[])):
        with pytest.raises(DatabaseError), tenant_tx(north.tenant.id):
            change()


def test_an_addendum_keeps_the_text_and_adds_its_own(
    north: Hospital, study: Study, colleague: Any, finish: Callable[..., InferenceJob]
) -> None:
    with tenant_tx(north.tenant.id):
        first = sign_report(study=study, impression="Mass.", agree_rest=True, **who(north.radiologist))
        request_inference(study_id=study.pk)
    finish(north, Nodule=0.9)
    with tenant_tx(north.tenant.id):
        with pytest.raises(InvalidInputError, match="reason"):
            sign_report(study=study, impression="CT advised.", amends=1, is_addendum=True, **who(colleague))
        more = {"reason": "Asked by the ward.", "is_addendum": True, **who(colleague)}
        second = sign_report(study=study, impression="CT advised.", amends=1, **more)
        third = sign_report(study=study, impression="Ward informed.", amends=2, **more)
        assert (third.impression, third.verdicts, third.job_id) == ("Mass.", first.verdicts, first.job_id)
        assert second.status == "amended"
        text = words(render_pdf(study=study))
        assert text.index("Mass.") < text.index("CT advised.") < text.index("Ward informed.")
        assert "Addendum of Second Reader" in text
        assert "Report with addendum" in text
        assert "Nodule 90.0%" not in text
        assert study.report_drafts.exists(), "The newer result still waits for its report."


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 0, 5), (250, 0, 10, 5), (0, 250, 5, 10)])
def test_a_box_lies_on_an_image_of_the_study(north: Hospital, study: Study, box: tuple[int, int, int, int]) -> None:
    with tenant_tx(north.tenant.id):
        image = Finding.objects.filter(job__study=study)[0].job.instance
        assert image is not None
        mine = {"study": study, "name": "Line", **who(north.radiologist)}
        with pytest.raises(InvalidInputError, match="256 × 256"):
            add_reader_finding(sop_instance_uid=image.sop_instance_uid, box=box, **mine)
        with pytest.raises(NotFoundError):
            add_reader_finding(sop_instance_uid="1.2.3", box=(0, 0, 5, 5), **mine)
        with pytest.raises(InvalidInputError, match="name"):
            add_reader_finding(**{**mine, "name": " \x00 "})


def test_an_impression_is_committed_before_the_ai_is_shown(north: Hospital, study: Study, colleague: Any) -> None:
    reader = north.radiologist
    with tenant_tx(north.tenant.id):
        with pytest.raises(ConflictError, match="at once"):
            commit_impression(study=study, impression="Effusion.", **who(reader))
        blind(north)
        finding = Finding.objects.get(job__study=study, label="Effusion")
        for act in (
            lambda: review_finding(finding=finding, verdict="agree", **who(reader)),
            lambda: agree_with_rest(study=study, **who(reader)),
            lambda: sign_report(study=study, impression="Read.", agree_rest=True, **who(reader)),
        ):
            with pytest.raises(ConflictError, match="Commit your impression first"):
                act()
        step = commit_impression(study=study, impression="Effusion.", **who(reader))
        assert commit_impression(study=study, impression="Other.", **who(reader)).pk == step.pk
        assert BlindStep.objects.get().impression == "Effusion."
        assert stored_draft(study, None).impression == "Effusion."
        with pytest.raises(ConflictError, match="Commit your impression first"):
            review_finding(finding=finding, verdict="agree", **who(colleague))
        review_finding(finding=finding, verdict="agree", **who(reader))
    for change in (lambda: BlindStep.objects.update(impression="x"), lambda: BlindStep.objects.all().delete()):
        with pytest.raises(DatabaseError), tenant_tx(north.tenant.id):
            change()


def test_a_withdrawn_study_is_not_signed(north: Hospital, study: Study) -> None:
    with tenant_tx(north.tenant.id):
        save_draft(study=study, impression="Mine.", revision=0, **who(north.radiologist))
        withdraw_study(study_id=study.pk, reason="Wrong patient.", **who(north.technologist))
        for act in (
            lambda: sign_report(study=study, impression="Mine.", agree_rest=True, **who(north.radiologist)),
            lambda: save_draft(study=study, impression="More.", revision=1, **who(north.radiologist)),
        ):
            with pytest.raises(WithdrawnError):
                act()


def test_a_rejected_image_takes_its_findings_out_of_the_report(north: Hospital, study: Study) -> None:
    reader = north.radiologist
    with tenant_tx(north.tenant.id):
        image = Finding.objects.filter(job__study=study)[0].job.instance
        assert image is not None
        reject_image(
            study=study, sop_instance_uid=image.sop_instance_uid, code="113037", reason="Wrong side.",
            **who(north.technologist),
        )  # fmt: skip
        with pytest.raises(ConflictError, match="The AI is reading this study"):
            sign_report(study=study, impression="Read.", agree_rest=True, **who(reader))
        report = sign_report(study=study, impression="Not readable.", without_ai=True, **who(reader))
        assert (report.job, report.verdicts) == (None, {})
        assert "Effusion" not in words(render_pdf(study=study))


def test_of_two_texts_at_once_one_is_stored(north: Hospital, study: Study) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def save(text: str) -> None:
        try:
            start.wait(60)
            with tenant_tx(north.tenant.id):
                save_draft(study=study, impression=text, revision=0, **who(north.radiologist))
            outcomes.append("stored")
        except DraftConflictError as error:
            outcomes.append(error.stored.impression)
        finally:
            connection.close()

    run_together(save, ["One", "Two"])
    with tenant_tx(north.tenant.id):
        stored = stored_draft(study, None)
    assert sorted(outcomes) == sorted(["stored", stored.impression])
    assert stored.revision == 1


def test_another_hospital_writes_nothing(north: Hospital, south: Hospital, study: Study) -> None:
    with tenant_tx(south.tenant.id):
        mine = {"study": study, **who(south.radiologist)}
        for act in (
            lambda: save_draft(impression="x", revision=0, **mine),
            lambda: add_reader_finding(name="x", **mine),
            lambda: discard_draft(**mine),
            lambda: sign_report(impression="x", **mine),
        ):
            with pytest.raises(NotFoundError):
                act()


def test_what_a_signed_version_says_is_present() -> None:
    tenant = uuid4()
    found = {"Mass": True, "Edema": False, "Nodule": False, "Hernia": False}
    findings = [Finding(tenant_id=tenant, label=label, positive=positive) for label, positive in found.items()]
    verdicts = {"Mass": "disagree", "Edema": "agree"}
    report = Report(tenant_id=tenant, verdicts=verdicts, reader_findings=[{"label": "Nodule"}, {"label": ""}])
    assert presence_of(report, findings) == {"Mass": False, "Edema": False, "Nodule": True}
