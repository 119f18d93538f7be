"""A signed report stays in force until a radiologist amends it; every version is kept."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import ProgrammingError, connection

from apps.api.selectors import StudyResult, study_results
from apps.audit.models import AuditEvent
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from apps.inference.models import InferenceJob
from apps.reports.models import Report, ReportDraft, ReportStatus
from apps.reports.selectors import draft_of, report_of
from apps.reports.services import render_pdf, sign_report
from apps.studies.models import Study
from apps.studies.selectors import get_study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.reports.reading import opened, text_of
from tests.studies import objects

STUDY = "1.2.826.0.1.77"


def sign_as(hospital: Hospital, study: Study, user: Any = None, **words: Any) -> Report:
    user = user or hospital.radiologist
    membership = Membership.objects.get(user_id=user.pk)
    words = {"impression": "Read.", "agree_rest": True, **words}
    return sign_report(study=study, user=user, membership=membership, **words)


def shown(study: Study) -> StudyResult:
    return study_results([get_study(study.study_instance_uid)])[0]


def words(data: bytes) -> str:
    return " ".join(text_of(opened(data)).split())


@pytest.fixture
def signed(north: Hospital, send: Callable[..., Any], finish: Callable[..., InferenceJob]) -> Study:
    """A study of one anteroposterior image, read and signed."""
    send(north, objects.image(STUDY, 1, ViewPosition="AP"))
    finish(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        study = Study.objects.get()
        sign_as(north, study, impression="Small effusion.")
    return study


def test_a_final_report_stays_in_force_whatever_arrives(
    north: Hospital, signed: Study, send: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> None:
    with tenant_tx(north.tenant.id):
        before, pdf = shown(signed), render_pdf(study=signed)
    assert (before.report_status, before.new_images_since_report, before.former_reports) == ("final", False, [])
    send(north, objects.document(STUDY, "1.2.840.10008.5.1.4.1.1.88.33"))
    with tenant_tx(north.tenant.id):
        assert replace(shown(signed), modalities=before.modalities) == before
    send(north, objects.image(STUDY, 2))
    with tenant_tx(north.tenant.id):
        open_ = shown(signed)
    assert (open_.status, open_.report_status, open_.report_url) == ("queued", "final", before.report_url)
    assert open_.new_images_since_report
    finish(north, Mass=0.9)
    with tenant_tx(north.tenant.id):
        after = shown(signed)
        assert (after.status, after.report_status, after.report_url) == ("complete", "final", before.report_url)
        assert after.findings[0].label == "Mass", "The findings are of the latest reading."
        assert render_pdf(study=signed) == pdf
        assert "PRELIMINARY" in words(render_pdf(study=signed, draft=True))


def test_an_amendment_keeps_the_original_and_says_why(
    north: Hospital, signed: Study, send: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> None:
    send(north, objects.image(STUDY, 2))
    finish(north, Mass=0.9)
    with tenant_tx(north.tenant.id):
        original = report_of(signed)
        assert original is not None
        pdf = render_pdf(study=signed)
        with pytest.raises(ConflictError, match="signed already"):
            sign_as(north, signed, impression="Mass.")
        with pytest.raises(InvalidInputError, match="Enter the reason"):
            sign_as(north, signed, impression="Mass.", amends=1, reason=" \n")
        with pytest.raises(NotPermittedError):
            sign_as(north, signed, north.technologist, amends=1, reason="Better image.")
        amended = sign_as(north, signed, impression="Mass.", amends=1, reason="A better image came.")
        assert (amended.status, amended.number, amended.amends) == (ReportStatus.AMENDED, 2, original)
        assert not ReportDraft.objects.exists()
        text = words(render_pdf(study=signed))
        assert "AMENDED" in text
        assert "Amended report, version 2. It replaces version 1" in text
        assert "Reason: A better image came." in text
        assert f"{original.signed_at:%Y-%m-%d %H:%M:%S}" in text
        assert "Mass 90.0% 30.0% Flagged" in text
        assert render_pdf(study=signed, number=1) == pdf
        result = shown(signed)
        assert (result.report_status, result.new_images_since_report) == ("amended", False)
        assert [(each.url, each.signed) for each in result.former_reports] == [
            (f"/api/v1/studies/{STUDY}/reports/1.pdf", original.signed_at)
        ]
        assert AuditEvent.objects.filter(action=AuditEvent.Action.REPORT_AMENDED, object_id=amended.pk).exists()
        with pytest.raises(NotFoundError):
            render_pdf(study=signed, number=3)


def test_the_text_alone_is_amended_again_and_again(north: Hospital, signed: Study) -> None:
    with tenant_tx(north.tenant.id):
        job = report_of(signed).job_id  # type: ignore[union-attr]
        for number in (1, 2):
            again = sign_as(north, signed, impression=f"Text {number}.", amends=number, reason="Typing error.")
            assert (again.number, again.job_id) == (number + 1, job)
        with pytest.raises(ConflictError, match="signed meanwhile"):
            sign_as(north, signed, impression="Stale.", amends=2, reason="Typing error.")
        assert "The original was signed" in words(render_pdf(study=signed))
        assert [each.url[-5:-4] for each in shown(signed).former_reports] == ["2", "1"]


def test_a_study_that_is_read_anew_waits_for_its_amendment(
    north: Hospital, signed: Study, send: Callable[..., Any]
) -> None:
    send(north, objects.image(STUDY, 2))
    with tenant_tx(north.tenant.id), pytest.raises(ConflictError, match="The AI is reading this study"):
        sign_as(north, signed, amends=1, reason="Too early.")


def test_of_two_amendments_at_once_one_is_signed(north: Hospital, signed: Study) -> None:
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def amend(text: str) -> None:
        try:
            start.wait(60)
            with tenant_tx(north.tenant.id):
                sign_as(north, Study.objects.get(pk=signed.pk), impression=text, amends=1, reason="Corrected.")
            outcomes.append("signed")
        except ConflictError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    run_together(amend, ["One", "Two"])
    assert sorted(outcomes) == ["report-amended", "signed"]


def test_an_image_that_arrives_during_a_signature_counts_as_new(
    north: Hospital, send: Callable[..., Any], finish: Callable[..., InferenceJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    send(north, objects.image(STUDY, 1, ViewPosition="AP"))
    finish(north, Effusion=0.71)
    from apps.reports.services import signature

    rendering, real = threading.Event(), signature.document_of

    def slow_render(report: Report) -> bytes:
        rendering.set()
        arrival.join(1)
        return real(report)

    def arrive() -> None:
        rendering.wait(30)
        send(north, objects.image(STUDY, 2))
        connection.close()

    monkeypatch.setattr(signature, "document_of", slow_render)
    arrival = threading.Thread(target=arrive)
    arrival.start()
    with tenant_tx(north.tenant.id):
        study = Study.objects.get()
        sign_as(north, study)
        assert arrival.is_alive(), "The image waits for the signature."
    arrival.join(30)
    with tenant_tx(north.tenant.id):
        result = shown(study)
    assert (result.report_status, result.new_images_since_report, result.status) == ("final", True, "queued")


def test_no_process_of_ours_changes_or_deletes_a_signed_report(north: Hospital, signed: Study) -> None:
    for change in (lambda rows: rows.update(impression="Other."), lambda rows: rows._raw_delete("default")):
        with pytest.raises(ProgrammingError, match="permission denied"), tenant_tx(north.tenant.id):
            change(Report.objects.all())


def test_another_hospital_sees_neither_version(north: Hospital, south: Hospital, signed: Study) -> None:
    with tenant_tx(south.tenant.id):
        assert report_of(signed) is None
        assert draft_of(signed) is None
        with pytest.raises(NotFoundError):
            render_pdf(study=signed, number=1)
        with pytest.raises(NotFoundError):
            sign_as(south, signed, amends=1, reason="Not ours.")


def run_together(function: Callable[[str], None], texts: list[str]) -> None:
    threads = [threading.Thread(target=function, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
