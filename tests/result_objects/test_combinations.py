"""Every combination of a result gives objects without an error for dciodvfy, DCMTK and highdicom's reader."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from pydicom.sr.codedict import codes

from apps.inference.models import InferenceJob
from apps.inference.services import claim_jobs, reject_job
from apps.reports.models import ReaderFinding
from apps.reports.services import create_drafts, review_finding, sign_report
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.result_objects.conftest import member, objects, want

PDF, SC, SR = "encapsulated-pdf", "secondary-capture", "structured-report"
NAMES = ["Müller^Jörg", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Иванов^Иван", "Single", "سعيد^أحمد"]


def sign(hospital: Hospital, study: Study, **more: Any) -> None:
    with tenant_tx(hospital.tenant.pk):
        sign_report(
            study=study,
            user=hospital.radiologist,
            membership=member(hospital, hospital.radiologist),
            **{"impression": "Effusion on the right.\nNo pneumothorax.", "agree_rest": True, **more},
        )


def end_without_result(hospital: Hospital, version: Any, code: str, reason: str) -> None:
    (claimed,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(hospital.tenant.pk):
        job = reject_job(job=claimed, code=code, reason=reason)
        if code == "ai-stopped":
            create_drafts(jobs=[job] if job else [])


@pytest.mark.peer("dciodvfy, dsrdump", "validates our result objects")
@pytest.mark.parametrize(
    ("findings", "film", "kinds"),
    [
        ({"Effusion": 0.9, "Mass": 0.7}, {}, {SC, SR}),
        ({}, {}, {SC, SR}),
        ({"Nodule": 0.35}, {"photometric": "MONOCHROME1"}, {SC, SR}),
    ],
    ids=["flagged", "none", "uncertain-monochrome1"],
)
def test_a_reading_gives_valid_objects(
    north: Hospital,
    read_study: Callable[..., Study],
    errors_of: Callable[[bytes], list[str]],
    findings: dict[str, float],
    film: dict[str, Any],
    kinds: set[str],
) -> None:
    want(north)
    study = read_study(north, film, **findings)

    made = objects(north, study)

    assert set(made) == kinds
    for each in made.values():
        assert errors_of(each.data) == []
        assert each.dataset.StudyInstanceUID == study.study_instance_uid
    assert made[SR].dataset.VerificationFlag == "UNVERIFIED"
    report = hd.sr.srread(io.BytesIO(made[SR].data))
    groups = report.content.get_image_measurement_groups() + report.content.get_planar_roi_measurement_groups()
    assert len(groups) == 15
    positive = {
        group.finding_type.meaning
        for group in groups
        for each in group.get_qualitative_evaluations()
        if each.value == codes.SCT.Positive
    }
    assert len(positive - {"Any finding"}) == len([label for label in findings if label != "Nodule"])


def test_names_of_other_character_sets(
    north: Hospital, read_study: Callable[..., Study], errors_of: Callable[[bytes], list[str]]
) -> None:
    want(north, structured_report=True)
    for number, name in enumerate(NAMES):
        study = read_study(north, {"seed": number, "patient_name": name}, Effusion=0.6)
        (made,) = objects(north, study).values()
        assert errors_of(made.data) == []
        assert made.dataset.SpecificCharacterSet == "ISO_IR 192"
        assert str(made.dataset.PatientName) == name


@pytest.mark.parametrize("code", ["not-a-chest-radiograph", "ai-stopped"])
def test_a_refusal_is_a_result(
    north: Hospital, version: Any, store_film: Any, errors_of: Callable[[bytes], list[str]], code: str
) -> None:
    want(north)
    study = store_film(north).study
    end_without_result(north, version, code, "The AI did not read this study.")

    made = objects(north, study)
    sign(north, study, without_ai=True)
    signed = objects(north, study)

    assert set(made) == {SR}
    assert set(signed) == {PDF, SR}
    assert [errors_of(each.data) for each in signed.values()] == [[], []]
    assert signed[SR].dataset.VerificationFlag == "VERIFIED"
    assert errors_of(made[SR].data) == []
    text = made[SR].data.decode(errors="replace")
    assert f"No AI result ({code}): The AI did not read this study." in text
    assert "No algorithms succeeded; without findings" in text


def test_missing_patient_data_is_left_empty(
    north: Hospital, read_study: Callable[..., Study], errors_of: Callable[[bytes], list[str]]
) -> None:
    want(north)
    study = read_study(north, Effusion=0.9)
    with tenant_tx(north.tenant.pk):
        Study.objects.update(
            patient_birth_date=None,
            patient_sex="unknown",
            patient_age="60",
            study_date=None,
            study_time=None,
            accession_number="A" * 17,
        )

    for each in objects(north, study).values():
        assert errors_of(each.data) == []
        empty = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber")
        assert [each.dataset[name].value for name in empty] == [""] * len(empty)
        assert "PatientAge" not in each.dataset


def test_findings_of_the_same_probability_keep_their_order(north: Hospital, read_study: Callable[..., Study]) -> None:
    """Another order would be another object of the same reading."""
    study = read_study(north, Effusion=0.9)
    with tenant_tx(north.tenant.pk):
        labels = [each.label for each in InferenceJob.objects.get(study=study).findings.all()]
    assert labels == ["Effusion", *sorted(labels[1:])]


def test_a_signature_and_an_amendment_replace_by_reference(
    north: Hospital,
    read_study: Callable[..., Study],
    store_film: Callable[..., Any],
    errors_of: Callable[[bytes], list[str]],
    tmp_path: Path,
) -> None:
    want(north)
    other = store_film(north, view_position="LL", series_uid="2.25.8").instance
    study = read_study(north, Effusion=0.9)
    unsigned = objects(north, study)
    with tenant_tx(north.tenant.pk):
        (job,) = InferenceJob.objects.all()
        review_finding(
            finding=job.findings.get(label="Effusion"),
            verdict="disagree",
            user=north.radiologist,
            membership=member(north, north.radiologist),
        )
    sign(north, study)
    signed = objects(north, study)
    with tenant_tx(north.tenant.pk):
        ReaderFinding.objects.create(
            study=study, name="Rib fracture", sop_instance_uid=job.instance.sop_instance_uid,
            box=[10, 20, 30, 40], reader=north.radiologist,
        )  # fmt: skip
        ReaderFinding.objects.create(
            study=study,
            name="Line",
            sop_instance_uid=other.sop_instance_uid,
            box=[1, 2, 3, 4],
            reader=north.radiologist,
        )
    sign(north, study, amends=1, reason="A typing error.")
    sign(north, study, amends=2, reason="Told by phone.", impression="Compared with 2020.", is_addendum=True)
    amended = objects(north, study)

    assert set(signed) == set(amended) == {PDF, SC, SR}
    for each in (*signed.values(), *amended.values()):
        assert errors_of(each.data) == []
    assert unsigned[SC].data == amended[SC].data, "a capture shows nothing of the signature"
    for before, after in ((unsigned[SR], signed[SR]), (signed[SR], amended[SR]), (signed[PDF], amended[PDF])):
        (reference,) = after.dataset.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
        assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.dataset.SOPInstanceUID
        assert after.row.replaces_id == before.row.pk
        assert after.dataset.SeriesInstanceUID == before.dataset.SeriesInstanceUID
    document = amended[SR].dataset
    assert (document.VerificationFlag, document.PreliminaryFlag) == ("VERIFIED", "FINAL")
    assert document.VerifyingObserverSequence[0].VerifyingObserverName == "radiologist of north"
    assert document.VerifyingObserverSequence[0].VerifyingOrganization == "North Hospital"
    path = tmp_path / "amended.dcm"
    path.write_bytes(amended[SR].data)
    dump = subprocess.run(["dsrdump", "+Pl", path], capture_output=True, text=True, timeout=60, check=True).stdout
    for text in (
        "Verdict of the reader", "Rejected", "Reason of the amendment: Told by phone.", "No pneumothorax.",
        "Addendum: Compared with 2020.", "Supplemented", "Rib fracture", "10/20,40/20,40/60,10/60,10/20",
        "1/2,4/2,4/6,1/6,1/2",
    ):  # fmt: skip
        assert text in dump, dump
    (evidence,) = document.CurrentRequestedProcedureEvidenceSequence
    named = [
        sop.ReferencedSOPInstanceUID
        for series in evidence.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    ]
    assert set(named) == {job.instance.sop_instance_uid, other.sop_instance_uid}
    assert amended[PDF].dataset.EncapsulatedDocument.startswith(b"%PDF-")
    assert amended[PDF].dataset.VerificationFlag == "VERIFIED"
