"""The report in the language, the time zone and with the letterhead of the hospital; what it says beside a reader."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps.reading.models import ReadingPolicy
from apps.reports.prefill import text_of_findings
from apps.reports.selectors import report_of
from apps.reports.services import add_reader_finding, render_pdf, review_finding, sign_report
from apps.studies.models import Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.reports.reading import opened, structure_of, text_of

TEXTS = {
    "en": ("Impression", "Findings of the reader", "Appendix", "Effusion Confirmed", "Mass Rejected", "FINAL"),
    "de": (
        "Beurteilung",
        "Befunde des Befunders",
        "Anhang",
        "Pleuraerguss Bestätigt",
        "Raumforderung Verworfen",
        "ENDGÜLTIG",
    ),
    "es": ("Impresión", "Hallazgos del lector", "Anexo", "Derrame pleural Confirmado", "Masa Descartado", "DEFINITIVO"),
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_signed_report_is_the_readers_and_in_the_language_of_the_hospital(
    north: Hospital, read_study: Callable[..., Study], language: str
) -> None:
    study = read_study(north, film={"patient_name": "Canary^Cora"}, Effusion=0.71, Mass=0.8)
    who: dict[str, Any] = {"user": north.radiologist}
    with tenant_tx(north.tenant.id):
        ReadingPolicy.objects.create(
            language=language, time_zone="Europe/Berlin", letterhead="Radiology\nMain Street 1"
        )
        who["membership"] = Membership.objects.get(user=north.radiologist)
        findings = {each.label: each for each in study.report_drafts.get().job.findings.all()}
        review_finding(finding=findings["Effusion"], verdict="agree", **who)
        review_finding(finding=findings["Mass"], verdict="disagree", **who)
        add_reader_finding(study=study, name="Old rib fracture", **who)
        report = sign_report(study=study, impression="No acute abnormality.", **who)
        data = render_pdf(study=study)
        assert render_pdf(study=study) == data, "Signed bytes stay."
    file = opened(data)
    if folder := os.environ.get("KEEP_PDF"):
        Path(folder, f"{language}.pdf").write_bytes(data)
    text = " ".join(text_of(file).split())
    impression, reader, appendix, confirmed, rejected, state = TEXTS[language]
    assert text.index(impression) < text.index("No acute abnormality.") < text.index(reader) < text.index(appendix)
    ours = text[: text.index(appendix)]
    assert "Old rib fracture" in ours
    assert confirmed.split()[0] in ours
    assert rejected.rsplit(" ", 1)[0] not in ours, "A finding that the reader rejected is no statement of the report."
    assert confirmed in text
    assert rejected in text
    assert state in text
    assert "Radiology Main Street 1" in text
    assert f"{report.signed_at:%M:%S} CE" in text, "The hospital's time."
    assert_accessible(file, language)


def assert_accessible(file: Any, language: str) -> None:
    """PDF/UA-1, as far as a reader of the file can check it."""
    catalogue = file.trailer["/Root"].get_object()
    assert catalogue["/Lang"] == language
    assert catalogue["/MarkInfo"]["/Marked"]
    assert catalogue["/ViewerPreferences"]["/DisplayDocTitle"]
    assert file.metadata.title
    packet = catalogue["/Metadata"].get_object().get_data().decode()
    assert "<pdfuaid:part>1</pdfuaid:part>" in packet
    assert packet.count("</rdf:RDF>") == 1
    kinds = [str(each.get("/S")) for each in structure_of(catalogue["/StructTreeRoot"])]
    levels = [int(kind[2]) for kind in kinds if kind in ("/H1", "/H2", "/H3")]
    assert levels[0] == 1
    assert all(later <= former + 1 for former, later in itertools.pairwise(levels)), levels
    assert {"/Table", "/TH", "/TD", "/Figure", "/L", "/LI"} <= set(kinds)
    figures = [each for each in structure_of(catalogue["/StructTreeRoot"]) if each.get("/S") == "/Figure"]
    assert figures
    assert all(each.get("/Alt") for each in figures)


def test_text_is_made_of_what_the_reader_takes_as_present(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Effusion=0.71, Mass=0.8, Nodule=0.4)
    who: dict[str, Any] = {"user": north.radiologist}
    with tenant_tx(north.tenant.id):
        ReadingPolicy.objects.create(language="de")
        who["membership"] = Membership.objects.get(user=north.radiologist)
        job = study.report_drafts.get().job
        findings = {each.label: each for each in job.findings.all()}
        review_finding(finding=findings["Effusion"], verdict="agree", **who)
        review_finding(finding=findings["Mass"], verdict="disagree", **who)
        review_finding(finding=findings["Pneumonia"], verdict="disagree", **who)
        add_reader_finding(study=study, name="Pneumothorax", **who)
        add_reader_finding(study=study, name="Alte Rippenfraktur", **who)
        lines = text_of_findings(study=study, job=job).split("\n")
        assert set(lines) == {"Pleuraerguss.", "Pneumonie.", "Pneumothorax.", "Alte Rippenfraktur."}
        *found, normal = text_of_findings(study=study, job=job, with_normal=True).split("\n")
        assert found == lines
        assert normal.startswith("Kein Anhalt für ")
        assert "Raumforderung" in normal
        assert "Rundherd" not in normal, "Flagged and undecided: nothing is said."
        assert report_of(study) is None
