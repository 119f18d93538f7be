"""Report services: drafts, verdicts, one signature by a radiologist; then the report is unchanged."""

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connection

from apps.audit.models import AuditEvent
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from apps.inference.models import Finding, InferenceJob
from apps.inference.requests import request_inference
from apps.inference.services import claim_jobs, reject_job
from apps.registry.models import ModelVersion
from apps.reports.models import FindingReview, Report, ReportStatus
from apps.reports.selectors import draft_of, report_of, reviews_of
from apps.reports.services import LONGEST_IMPRESSION, create_drafts, render_pdf, review_finding, sign_report
from apps.studies.models import Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.reports.reading import opened, text_of


def membership_of(user: Any) -> Membership:
    return Membership.objects.get(user_id=user.pk)


def sign_as_radiologist(hospital: Hospital, study: Study, impression: str = "Read.", **more: Any) -> Report:
    """Sign and agree with what is flagged."""
    user = hospital.radiologist
    words = {"impression": impression, "agree_rest": True, **more}
    return sign_report(study=study, user=user, membership=membership_of(user), **words)


def words(data: bytes) -> str:
    return " ".join(text_of(opened(data)).split())


def test_a_preliminary_report_says_what_was_found_and_by_whom(
    north: Hospital, read_study: Callable[..., Study], version: ModelVersion
) -> None:
    study = read_study(
        north, film={"patient_name": "Canary^Cora", "patient_id": "P-77"}, Effusion=0.71, Pleural_Thickening=0.305
    )
    with tenant_tx(north.tenant.id):
        data = render_pdf(study=study)
    text = words(data)
    assert "PRELIMINARY" in text
    assert "Not reviewed or signed by a radiologist." in text
    assert "FINAL" not in text
    assert "Canary, Cora" in text
    assert "P-77" in text
    assert "Flagged by the AI Decision of the reader Effusion No verdict Pleural thickening No verdict" in text
    assert text.index("Impression") < text.index("Findings of the reader") < text.index("Appendix: result of the AI")
    assert "Effusion 71.0% 30.0% Flagged" in text
    assert "Mass 2.0% 30.0% Below" in text
    assert "Hernia 2.0% None No operating point" in text
    assert "Strongest contribution: patient's right, lower zone." in text
    assert f"{version} (densenet121)" in text
    assert version.sha256 in text
    pages = [" ".join(page.extract_text().split()) for page in opened(data).pages]
    for number, page in enumerate(pages, start=1):
        assert "Investigational. Not for diagnostic use." in page
        assert f"Page {number} of {len(pages)}" in page
        assert "Canary, Cora" in page


def test_a_preliminary_report_says_that_its_patient_is_in_conflict(
    north: Hospital, read_study: Callable[..., Study]
) -> None:
    study = read_study(north, film={"patient_name": "Doe^John", "patient_id": "P-9"})
    notice = "The patient data of this study contradict other images."
    with tenant_tx(north.tenant.id):
        assert notice not in words(render_pdf(study=study))
    read_study(north, film={"patient_name": "Smith^Jane", "patient_id": "P-9", "seed": 2})
    with tenant_tx(north.tenant.id):
        assert notice in words(render_pdf(study=study))


def test_uncertain_calls_and_unvalidated_maps_are_named(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Nodule=0.35, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        text = words(render_pdf(study=study))
    assert "Nodule 35.0% 30.0% Flagged, uncertain" in text
    assert "Effusion 71.0% 30.0% Flagged No verdict" in text
    assert "Location not validated Nodule: it was not shown" in text
    assert text.count("Strongest contribution") == 1
    assert "Any finding: 8" in text


def test_without_a_positive_finding_nothing_is_called_normal(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north)
    with tenant_tx(north.tenant.id):
        data = render_pdf(study=study)
    text = words(data)
    assert "No finding reached its operating point." in text
    assert "No operating point: Hernia." in text
    assert "normal" not in text.lower()
    assert "AI overlays" not in text
    assert len(opened(data).pages) == 2


def test_a_version_without_operating_points_is_not_called_negative(
    north: Hospital, read_study: Callable[..., Study], version: ModelVersion
) -> None:
    version.manifest["thresholds"] = dict.fromkeys(version.manifest["labels"])
    version.save()
    study = read_study(north, Effusion=0.97)
    with tenant_tx(north.tenant.id):
        text = words(render_pdf(study=study))
    assert "This version has no operating points." in text
    assert "reached its operating point" not in text


def test_a_finding_without_its_heatmap_says_so(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        study.report_drafts.get().job.heatmaps.all().delete()
        text = words(render_pdf(study=study))
    assert "No heatmap can be shown for this finding." in text
    assert "Strongest contribution" not in text


def test_sides_are_not_named_where_they_are_unclear(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        InferenceJob.objects.filter(study=study).update(
            warnings=[{"code": "orientation-unclear", "detail": "Unclear."}]
        )
        text = words(render_pdf(study=study))
    assert "Zone not stated" in text
    assert "Strongest contribution" not in text


def test_a_draft_is_made_once_and_follows_the_newest_reading(
    north: Hospital, read_study: Callable[..., Study], finish: Callable[..., InferenceJob]
) -> None:
    study = read_study(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        first = draft_of(study)
        assert first is not None
        create_drafts(jobs=[first.job])
        assert study.report_drafts.get().pk == first.pk
        request_inference(study_id=study.pk)
    second_job = finish(north, Mass=0.9)
    with tenant_tx(north.tenant.id):
        report = draft_of(study)
        assert report is not None
        assert (report.pk, report.job_id) == (first.pk, second_job.pk)
        assert "Mass 90.0% 30.0% Flagged" in words(render_pdf(study=study))


def test_only_a_complete_reading_has_a_report(
    north: Hospital, store_film: Callable[..., Any], version: ModelVersion
) -> None:
    study = store_film(north).study
    with tenant_tx(north.tenant.id):
        job = InferenceJob.objects.get(study=study)
        with pytest.raises(ConflictError):
            create_drafts(jobs=[job])
        with pytest.raises(NotFoundError, match="because its reading is not finished"):
            render_pdf(study=study)
        with pytest.raises(ConflictError, match="or sign without it"):
            sign_as_radiologist(north, study)
    (claimed,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(north.tenant.id):
        reject_job(job=claimed, code="not-frontal", reason="The film is a lateral view.", instances_seen=1)
        with pytest.raises(NotFoundError, match=r"did not read it: The film is a lateral view\.$"):
            render_pdf(study=study)
        InferenceJob.objects.all().delete()
        with pytest.raises(NotFoundError, match="not been sent"):
            render_pdf(study=study)


def test_signing_makes_the_report_final_and_keeps_its_bytes(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        report = sign_as_radiologist(north, study, "Small effusion.\r\nFollow up.\x00")
        data = render_pdf(study=study)
        again = render_pdf(study=study)
        event = AuditEvent.objects.get(action=AuditEvent.Action.REPORT_SIGNED)
    assert report.status == ReportStatus.FINAL
    assert report.impression == "Small effusion.\nFollow up."
    assert hashlib.sha256(data).hexdigest() == report.pdf_sha256
    assert data == again
    assert default_storage.exists(f"t/{north.tenant.id}/{report.pdf_sha256}")
    assert (event.object_id, event.user_id) == (report.pk, north.radiologist.pk)
    text = words(data)
    assert "FINAL" in text
    assert "PRELIMINARY" not in text
    assert "Electronically signed by radiologist of north, radiologist, North Hospital" in text
    assert f"{report.signed_at:%Y-%m-%d %H:%M:%S} UTC (+0000)" in text
    assert "Small effusion. Follow up." in text


def test_a_signed_report_is_left_as_it_was_signed(
    north: Hospital, read_study: Callable[..., Study], finish: Callable[..., InferenceJob]
) -> None:
    study = read_study(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        signed = sign_as_radiologist(north, study)
        before = render_pdf(study=study)
        study.patient_name = "Corrected^Later"
        study.save()
        with pytest.raises(ConflictError, match="signed already"):
            sign_as_radiologist(north, study, "Another text.")
        request_inference(study_id=study.pk)
    finish(north, Mass=0.9)
    with tenant_tx(north.tenant.id):
        report = report_of(study)
        assert report is not None
        assert report.job_id == signed.job_id
        assert render_pdf(study=study) == before


def test_two_signatures_at_once_leave_one(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Effusion=0.71)
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def sign_in_own_transaction(text: str) -> None:
        try:
            start.wait(60)
            with tenant_tx(north.tenant.id):
                sign_as_radiologist(north, Study.objects.get(pk=study.pk), text)
            outcomes.append("signed")
        except ConflictError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=sign_in_own_transaction, args=(text,)) for text in ("One", "Two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["report-signed", "signed"]
    with tenant_tx(north.tenant.id):
        report = report_of(study)
        assert report is not None
        assert report.impression in words(render_pdf(study=study))
        assert AuditEvent.objects.filter(action=AuditEvent.Action.REPORT_SIGNED).count() == 1


def test_a_study_that_is_read_anew_waits_for_its_signature(
    north: Hospital, read_study: Callable[..., Study], version: ModelVersion
) -> None:
    study = read_study(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        request_inference(study_id=study.pk)
        with pytest.raises(ConflictError, match="The AI is reading this study"):
            sign_as_radiologist(north, study)
        assert "this report is about the earlier reading" in words(render_pdf(study=study))
        assert "Strongest contribution: patient's right" in words(render_pdf(study=study))
    (claimed,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(north.tenant.id):
        reject_job(job=claimed, code="not-frontal", reason="A lateral view.", instances_seen=1)
        assert "gave no result (A lateral view); this report is about the earlier one." in words(
            render_pdf(study=study)
        )
        assert sign_as_radiologist(north, study).job_id == claimed.id
        text = words(render_pdf(study=study))
    assert "No AI reading was used for this report: A lateral view." in text
    assert "Effusion" not in text


@pytest.mark.parametrize("role", ["admin", "technologist", None])
def test_only_a_radiologist_signs_and_reviews(
    north: Hospital, read_study: Callable[..., Study], role: str | None
) -> None:
    study = read_study(north, Effusion=0.71)
    user = getattr(north, role or "radiologist")
    with tenant_tx(north.tenant.id):
        membership = membership_of(user) if role else None
        with pytest.raises(NotPermittedError):
            sign_report(study=study, user=user, membership=membership, impression="Read.")
        finding = Finding.objects.get(job__study=study, label="Effusion")
        with pytest.raises(NotPermittedError):
            review_finding(finding=finding, verdict="agree", user=user, membership=membership)
        assert study.report_drafts.exists()
        assert not study.reports.exists()
        assert not FindingReview.objects.exists()


def test_a_review_is_kept_changed_printed_and_audited(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Effusion=0.71)
    reader = north.radiologist
    with tenant_tx(north.tenant.id):
        finding = Finding.objects.get(job__study=study, label="Effusion")
        for verdict in ("agree", "disagree"):
            review_finding(finding=finding, verdict=verdict, user=reader, membership=membership_of(reader))
        assert {label: each.verdict for label, each in reviews_of(finding.job).items()} == {"Effusion": "disagree"}
        assert AuditEvent.objects.filter(
            action=AuditEvent.Action.FINDING_REVIEWED, object_id=finding.pk, user=reader
        ).count() == 2  # fmt: skip
        with pytest.raises(InvalidInputError):
            review_finding(finding=finding, verdict="perhaps", user=reader, membership=membership_of(reader))
        assert sign_as_radiologist(north, study).verdicts == {"Effusion": "disagree"}
        assert "Effusion 71.0% 30.0% Flagged Rejected" in words(render_pdf(study=study))
        with pytest.raises(ConflictError, match="signed already"):
            review_finding(finding=finding, verdict="agree", user=reader, membership=membership_of(reader))


def test_a_review_of_an_earlier_reading_is_refused(
    north: Hospital, read_study: Callable[..., Study], finish: Callable[..., InferenceJob]
) -> None:
    study = read_study(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        stale = Finding.objects.get(job__study=study, label="Effusion")
        request_inference(study_id=study.pk)
    finish(north, Effusion=0.5)
    with tenant_tx(north.tenant.id), pytest.raises(ConflictError, match="earlier reading"):
        review_finding(
            finding=stale, verdict="agree", user=north.radiologist, membership=membership_of(north.radiologist)
        )


def test_another_hospital_has_no_such_report(
    north: Hospital, south: Hospital, read_study: Callable[..., Study]
) -> None:
    study = read_study(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        signed = sign_as_radiologist(north, study)
    with tenant_tx(south.tenant.id):
        assert report_of(study) is None
        with pytest.raises(NotFoundError):
            render_pdf(study=study)
        with pytest.raises(NotFoundError):
            sign_as_radiologist(south, study)
        assert Report.objects.filter(pk=signed.pk).count() == 0


def test_an_impression_has_a_limit(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north)
    with tenant_tx(north.tenant.id):
        with pytest.raises(InvalidInputError, match="shorten it"):
            sign_as_radiologist(north, study, "x" * (LONGEST_IMPRESSION + 1))
        report = sign_as_radiologist(north, study, ("All is said. " * 800)[:LONGEST_IMPRESSION])
        assert len(opened(render_pdf(study=study)).pages) > 1
    assert report.status == ReportStatus.FINAL
