"""What is counted of a signed report: each finding once, by its version in force, in its own hospital."""

import csv
import importlib
import io
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from django.test import Client
from django.utils import timezone

from apps.inference.rejections import reject_image, withdraw_rejection
from apps.inference.withdrawal import restore_study, withdraw_study
from apps.quality.models import CountedFinding, Outcome
from apps.quality.selectors import ConfirmedShare, LabelCounts, confirmed_shares, counts_by_version
from apps.quality.wording import confirmed_text
from apps.reading.models import ReadingPolicy
from apps.registry.models import ModelVersion
from apps.reports.models import Report
from apps.studies.models import ImageRejection, Instance, Patient, Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from config.embedded.postgres import DATABASE, admin_dsn
from tests.conftest import Hospital
from tests.quality.reading import sign

OUTCOMES = {
    "Atelectasis": (True, "agreed"),
    "Cardiomegaly": (True, "disagreed"),
    "Consolidation": (True, "corrected"),
    "Edema": (False, "corrected"),
    "Emphysema": (False, "agreed"),
    "Fibrosis": (False, "added"),
    "Hernia": (False, "added"),
}


@pytest.fixture
def signed(north: Hospital, read_study: Callable[..., Study]) -> Study:
    """A study with every outcome; the version has no operating point for hernias."""
    study = read_study(north, {"size": 256}, Atelectasis=0.9, Cardiomegaly=0.8, Consolidation=0.7)
    verdicts = {"Cardiomegaly": "disagree", "Consolidation": "disagree", "Edema": "disagree", "Emphysema": "agree"}
    sign(north, study, verdicts, added=["Consolidation", "Fibrosis", "Fibrosis", "Hernia", "A foreign body"])
    return study


def counted(hospital: Hospital) -> dict[str, tuple[bool, str]]:
    with tenant_tx(hospital.tenant.pk):
        return {row.label: (row.flagged, row.outcome) for row in CountedFinding.objects.all()}


def rows_before_and_after_an_upgrade() -> list[list[Any]]:
    """The counted rows as services wrote them, and as the migration fills them for reports signed before."""
    fill = importlib.import_module("apps.quality.migrations.0003_signed_reports_counted").FILL
    rows = "select tenant_id, study_id, report_id, model_version_id, label, flagged, outcome, probability, signed_at"
    superuser = psycopg2.connect(**admin_dsn(DATABASE))
    try:
        with superuser.cursor() as cursor:
            found = []
            for statement in ("select 1", f"delete from quality_countedfinding; {fill}"):
                cursor.execute(statement)
                cursor.execute(f"{rows} from quality_countedfinding order by label")
                found.append(cursor.fetchall())
    finally:
        superuser.rollback()
        superuser.close()
    return found


def test_each_finding_of_a_signed_report_counts_once(north: Hospital, south: Hospital, signed: Study) -> None:
    assert counted(north) == OUTCOMES
    assert counted(south) == {}
    sign(north, signed, {"Cardiomegaly": "agree"})
    assert counted(north) == OUTCOMES | {"Cardiomegaly": (True, "agreed")}, "The version in force counts, alone."
    with tenant_tx(north.tenant.pk):
        (found,) = counts_by_version()
        assert (found.studies, {each.label for each in found.labels}) == (1, set(OUTCOMES))
        assert not confirmed_shares(found.version, ["Atelectasis"]), "One verdict says nothing."
    written, filled = rows_before_and_after_an_upgrade()
    assert len(written) == len(OUTCOMES)
    assert written == filled


def test_what_is_withdrawn_or_rejected_does_not_count_until_it_is_taken_back(north: Hospital, signed: Study) -> None:
    reader: dict[str, Any] = {"user": north.radiologist}
    with tenant_tx(north.tenant.pk):
        reader["membership"] = Membership.objects.get(user=north.radiologist)
        uid = Instance.objects.values_list("sop_instance_uid", flat=True).get(series__study=signed, rows__isnull=False)
        reject_image(study=signed, sop_instance_uid=uid, code=ImageRejection.Code.values[0], reason="", **reader)
    assert counted(north) == {}
    with tenant_tx(north.tenant.pk):
        withdraw_rejection(study=signed, sop_instance_uid=uid, **reader)
    assert counted(north) == OUTCOMES
    with tenant_tx(north.tenant.pk):
        withdraw_study(study_id=signed.pk, reason="Another patient.", **reader)
    assert counted(north) == {}
    with tenant_tx(north.tenant.pk):
        restore_study(study_id=signed.pk, **reader)
    assert counted(north) == OUTCOMES


def test_readers_and_administrators_see_the_counts(
    north: Hospital, south: Hospital, signed: Study, version: ModelVersion, sign_in: Callable[..., Client]
) -> None:
    for person in (north.radiologist, north.admin):
        client = sign_in(north, person)
        page = client.get("/quality/").text
        assert "reporter:3" in page
        assert "1 study with a signed report" in page
        assert "CANARY" not in page
        assert str(signed.pk) not in page
        rows = {row["finding"]: row for row in csv.DictReader(io.StringIO(client.get("/quality/verdicts.csv").text))}
        if person == north.admin:
            # The findings of one study are those of a patient.
            assert not rows
            assert "Consolidation" not in page
            continue
        assert (rows["Consolidation"]["flagged_corrected"], rows["Consolidation"]["share"]) == ("1", "")
        assert (rows["Edema"]["not_flagged_corrected"], rows["Edema"]["share"]) == ("1", "")
    assert "No verdicts yet" in sign_in(south, south.admin).get("/quality/").text
    technologist = sign_in(north, north.technologist)
    assert technologist.get("/quality/").status_code == 403
    assert "/quality/" not in technologist.get("/").text


def test_a_share_is_shown_from_fifty_verdicts_on(north: Hospital, south: Hospital, version: ModelVersion) -> None:
    """84 verdicts, of which 14 confirm: 1 in 6, and Wilson's interval of it."""
    for hospital, confirmed, total in ((north, 14, 84), (south, 30, 49)):
        count(hospital, version, confirmed, total)
    with tenant_tx(north.tenant.pk):
        share = confirmed_shares(version, ["Mass", "Nodule"])
        assert list(share) == ["Mass"]
        assert (share["Mass"].confirmed, share["Mass"].verdicts) == (14, 84)
        assert [round(each, 4) for each in share["Mass"].interval.pair()] == [0.102, 0.2605]
    with tenant_tx(south.tenant.pk):
        assert not confirmed_shares(version, ["Mass"])
        assert counts_by_version()[0].labels == [LabelCounts("Mass", {Outcome.AGREED: 30, Outcome.DISAGREED: 19}, {})]


def test_the_study_page_says_how_often_a_flag_is_confirmed(
    north: Hospital, version: ModelVersion, read_study: Callable[..., Study], sign_in: Callable[..., Client]
) -> None:
    study = read_study(north, {"size": 256}, Mass=0.9, Nodule=0.8)
    client, address = sign_in(north, north.radiologist), f"/studies/{study.pk}/"
    assert "At this site" not in client.get(address).text
    count(north, version, 14, 84)
    said = "At this site 1 in 6 flagged like this was confirmed (between 1 in 10 and 1 in 4), from 84 verdicts."
    assert client.get(address).text.count(said) == 1
    assert "At this site" not in sign_in(north, north.admin).get(address).text
    with tenant_tx(north.tenant.pk):
        ReadingPolicy.objects.create(ai_display="blind-first")
    assert "At this site" not in client.get(address).text


@pytest.mark.parametrize(
    ("confirmed", "total", "text"),
    [
        (0, 84, "none of 84 flagged like this was confirmed (at most 1 in 23)"),
        (84, 84, "all 84 flagged like this were confirmed (at least 22 in 23)"),
        (1, 60, "1 in 60 flagged like this was confirmed (between 1 in 339 and 1 in 11), from 60"),
        (30, 60, "5 in 10 flagged like this were confirmed (between 4 in 10 and 6 in 10), from 60"),
        (58, 60, "29 in 30 flagged like this were confirmed (between 9 in 10 and 108 in 109), from 60"),
    ],
)
def test_a_share_in_whole_numbers(confirmed: int, total: int, text: str) -> None:
    assert confirmed_text(ConfirmedShare(confirmed, total)).startswith(f"At this site {text}")


def count(hospital: Hospital, version: ModelVersion, confirmed: int, total: int) -> None:
    """Store counted masses of as many studies, without their films."""
    with tenant_tx(hospital.tenant.pk):
        patient = Patient.objects.create(patient_id="COUNTED")
        studies = Study.objects.bulk_create(
            Study(patient=patient, study_instance_uid=f"1.2.9.{number}") for number in range(total)
        )
        reports = Report.objects.bulk_create(
            Report(study=study, signed_by=hospital.radiologist, signed_at=timezone.now(), pdf_sha256="0" * 64)
            for study in studies
        )
        CountedFinding.objects.bulk_create(
            CountedFinding(
                study=study, report=report, model_version=version, label="Mass", flagged=True, probability=0.5,
                outcome=Outcome.AGREED if number < confirmed else Outcome.DISAGREED, signed_at=report.signed_at,
            )
            for number, (study, report) in enumerate(zip(studies, reports, strict=True))
        )  # fmt: skip
