"""Reviewed studies as data: nothing that identifies a patient, and readable by the tools for data sets."""

import csv
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from PIL import Image

from apps.audit.models import AuditEvent
from apps.inference.models import Finding
from apps.reports.services import review_finding, sign_report
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from ml.data import read_table
from ml.data.folder import find_images
from ml.data.splits import evaluation_images
from ml.data.tables import read_list
from ml.labels import LABELS
from tests.results import read, version

__all__ = ["read", "version"]

PAGE, EXPORT = reverse("portal:reviewed"), reverse("portal:reviewed-export")
# Two films of one patient, and one of each other; the last one is not signed.
FILMS = [
    (1, "CANARY-1", "20210314"), (1, "CANARY-1", "20210916"), (2, "CANARY-2", "20210314"), (3, "CANARY-3", "20210314"),
    (4, "CANARY-4", "20210314"),
]  # fmt: skip
CANARY = {"patient_name": "CANARY^JANE", "birth_date": "19700203", "accession_number": "CANARYACC"}


@pytest.fixture
def signed(north: Any, version: Any, store_film: Any, read: Any) -> list[Any]:
    """Four signed studies of three patients with verdicts on some findings, and others that must not come along."""
    studies = []
    for seed, patient, date in FILMS:
        film = store_film(north, seed=seed, size=256, patient_id=patient, study_date=date, **CANARY)
        read(film.instance, Mass=0.9, Effusion=0.8)
        studies.append(film.study)
    with tenant_tx(north.tenant.pk):
        member = Membership.objects.get(user=north.radiologist)
        for study in studies[:4]:
            for label, verdict in (("Mass", "agree"), ("Effusion", "disagree"), ("Edema", "agree")):
                finding = Finding.objects.get(job__study=study, label=label)
                review_finding(finding=finding, verdict=verdict, user=north.radiologist, membership=member)
            sign_report(study=study, user=north.radiologist, membership=member, impression="CANARY text.")
    return studies


def test_an_export_identifies_nobody_and_can_be_evaluated_and_trained_on(
    north: Any, south: Any, signed: list[Any], sign_in: Any, tmp_path: Path
) -> None:
    admin = sign_in(north, north.admin)
    page = admin.get(PAGE).content.decode()
    assert "4 films of 3 patients" in page
    answer = admin.post(EXPORT)
    data = b"".join(answer.streaming_content)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        archive.extractall(tmp_path)
    folder = tmp_path / "reviewed"
    with tenant_tx(north.tenant.pk):
        assert AuditEvent.objects.get(action="data.exported").amount == 4
        secrets = [str(getattr(study, name)) for study in signed for name in ("pk", "study_instance_uid", "patient_id")]
    for word in ("CANARY", "JANE", "20210314", "2021-03", north.tenant.slug, *secrets):
        assert word.encode() not in data, word
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert all(re.fullmatch("[0-9a-f]{16}[.]png", name) for name in names)
    for name in names:
        with Image.open(folder / "images" / name) as picture:
            assert (picture.mode, picture.info, picture.size) == ("L", {}, (256, 256))

    records = read_table(folder / "Data_Entry_2017.csv")
    assert sorted(records) == names
    assert {each.findings for each in records.values()} == {frozenset({"Mass"})}
    assert {each.unknown for each in records.values()} == {frozenset(LABELS) - {"Mass", "Effusion", "Edema"}}
    assert {each.patient for each in records.values()} == {"1", "2", "3"}
    assert all(each.age is not None and each.sex in ("M", "F") for each in records.values())
    tests = (folder / "test_list.txt").read_text().split()
    assert {records[name].patient for name in tests} == {"1"}
    assert len(tests) + len((folder / "train_val_list.txt").read_text().split()) == 4
    # What evaluate_model and train_model read.
    assert set(evaluation_images(folder, records)) == set(tests)
    assert read_list(folder / "train_val_list.txt", records)
    assert find_images(folder, list(records)).keys() == records.keys()
    # Another export has other names.
    again = b"".join(admin.post(EXPORT).streaming_content)
    assert not any(name.encode() in again for name in names)

    other = sign_in(south, south.admin)
    assert b"Too few reviewed studies" in other.get(PAGE).content
    assert other.post(EXPORT).status_code == 409
    assert sign_in(north, north.radiologist).get(PAGE).status_code == 403
    assert sign_in(north, north.radiologist).post(EXPORT).status_code == 403


def test_the_operator_exports_into_a_new_folder(north: Any, south: Any, signed: list[Any], tmp_path: Path) -> None:
    with tenant_tx(north.tenant.pk):
        study = signed[0]
        type(study).objects.filter(pk=study.pk).update(withdrawn=study.received, patient_birth_date="1900-01-01")
    folder = tmp_path / "reviewed"
    call_command("export_reviewed", "--tenant", "north", "--out", str(folder), stdout=io.StringIO())
    with (folder / "Data_Entry_2017.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    for last in ("0", "-1"):
        with pytest.raises(CommandError, match="a number of studies from 1 on"):
            call_command("export_reviewed", "--tenant", "north", "--out", str(tmp_path / "few"), f"--last={last}")
    with pytest.raises(CommandError, match="exists already"):
        call_command("export_reviewed", "--tenant", "north", "--out", str(folder))
    with pytest.raises(CommandError, match="at least two patients"):
        call_command("export_reviewed", "--tenant", "south", "--out", str(tmp_path / "south"))
    assert not (tmp_path / "south").exists()
