"""A mirrored image is turned in all views alike, and its result has a warning."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from django.core.management import call_command
from django.test import Client
from PIL import Image

from apps.inference.models import HeatmapGrids, InferenceJob
from apps.inference.rendering import image_png
from apps.inference.selectors import get_heatmap
from apps.reports.contents import contents_of
from apps.reports.selectors import draft_of
from apps.studies.models import Instance, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital

STORED: dict[str, Callable[[Any], Any]] = {"R\\F": lambda image: image[:, ::-1], "F\\L": lambda image: image.T}
HALF_THE_ROWS = "L\\F"


@pytest.fixture
def twins(make_film: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[bytes, bytes]]:
    """One film twice: as usual, and stored in another orientation as another study."""

    def made(orientation: str, **attributes: Any) -> tuple[bytes, bytes]:
        usual = make_film(seed=3, size=512)
        turned = pydicom.dcmread(usual)
        pixels = turned.pixel_array[::2] if orientation == HALF_THE_ROWS else STORED[orientation](turned.pixel_array)
        turned.PixelData, (turned.Rows, turned.Columns) = np.ascontiguousarray(pixels).tobytes(), pixels.shape
        turned.PatientOrientation = orientation
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(turned, keyword, f"{turned[keyword].value}.9"[-64:].lstrip("."))
        turned.file_meta.MediaStorageSOPInstanceUID = turned.SOPInstanceUID
        for keyword, value in attributes.items():
            setattr(turned, keyword, value)
        out = io.BytesIO()
        turned.save_as(out)
        return usual.read_bytes(), out.getvalue()

    return made


def take(hospital: Hospital, data: bytes) -> Instance:
    from apps.audit.services import Actor
    from apps.ingest.intake import ingest_instance, inspect_file
    from apps.studies.spool import open_spool

    with open_spool() as spool:
        inspected = inspect_file(spool.write(data))
        ingest_instance(inspected, tenant_id=hospital.tenant.id, by=Actor(name="test"), source="test")
    with tenant_tx(hospital.tenant.id):
        return Instance.objects.select_related("series__study__patient").get(
            sop_instance_uid=inspected.found.sop_instance_uid
        )


@pytest.mark.parametrize("orientation", STORED)
def test_result_picture_map_zone_and_report_are_those_of_the_usual_image(
    starter: Any, north: Hospital, read_studies: Callable[[], int], twins: Any, sign_in: Any, orientation: str
) -> None:
    usual, turned = (take(north, data) for data in twins(orientation))
    assert read_studies() == 2
    assert image_png(usual) == image_png(turned)
    uids = [each.series.study.study_instance_uid for each in (usual, turned)]
    found = [Client().get(f"/api/v1/studies/{uid}/", headers=north.bearer).json() for uid in uids]
    values = [{one["label"]: one["probability"] for one in study["findings"]} for study in found]
    assert values[0] == values[1]
    assert [warning["code"] for warning in found[0]["warnings"]] == []
    assert [warning["code"] for warning in found[1]["warnings"]] == ["orientation-corrected"]
    assert orientation in found[1]["warnings"][0]["detail"]
    maps = [Client().get(study["findings"][0]["heatmap_url"], headers=north.bearer).content for study in found]
    assert maps[0] == maps[1]
    with tenant_tx(north.tenant.id):
        label = found[0]["findings"][0]["label"]
        zones = [get_heatmap(study=each.series.study, label=label).zone for each in (usual, turned)]
        assert zones[0] == zones[1]
        report = draft_of(turned.series.study)
        assert report is not None
        assert [each.code for each in contents_of(report).ai.warnings] == ["orientation-corrected"]
    page = sign_in(north, north.radiologist).get(f"/studies/{turned.series.study.pk}/").content.decode()
    assert 'data-code="orientation-corrected"' in page
    assert "mirrored" in page


def test_a_reading_from_before_images_were_turned_has_its_maps_turned(
    starter: Any, north: Hospital, read_studies: Callable[[], int], twins: Any
) -> None:
    instance = take(north, twins("R\\F")[1])
    read_studies()
    with tenant_tx(north.tenant.id):
        label = "Effusion"
        now = get_heatmap(study=Study.objects.get(), label=label)
        grids = HeatmapGrids.objects.get()
        cams = np.frombuffer(grids.data, "<f2").reshape(-1, grids.grid_rows, grids.grid_columns)
        grids.data = np.ascontiguousarray(cams[:, :, ::-1]).tobytes()
        grids.save()
        InferenceJob.objects.update(picture_rows=None, picture_columns=None)
        before = get_heatmap(study=Study.objects.get(), label=label)
    assert np.array_equal(before.grid, now.grid)
    assert before.geometry == now.geometry
    assert (instance.rows, instance.columns) == (before.geometry.rows, before.geometry.columns)


def test_an_orientation_that_is_not_understood_names_no_side(
    starter: Any, north: Hospital, read_studies: Callable[[], int], twins: Any
) -> None:
    take(north, twins("R\\F", PatientOrientation="RF\\L")[1])
    read_studies()
    with tenant_tx(north.tenant.id):
        assert get_heatmap(study=Study.objects.get(), label="Effusion").zone is None


def test_age_and_contradictions_are_warnings_of_study_and_prediction(
    starter: Any, north: Hospital, read_studies: Callable[[], int], twins: Any, tmp_path: Path
) -> None:
    odd = {
        "PatientOrientation": "L\\F", "PatientBirthDate": "20260101", "StudyDate": "20261120", "PatientAge": "010M",
        "PresentationLUTShape": "INVERSE",
    }  # fmt: skip
    data = twins("R\\F", **odd)[1]
    instance = take(north, data)
    read_studies()
    uid = instance.series.study.study_instance_uid
    study = Client().get(f"/api/v1/studies/{uid}/", headers=north.bearer).json()
    assert {warning["code"] for warning in study["warnings"]} == {
        "age-outside-validated-range",
        "polarity-contradiction",
    }
    (tmp_path / "odd.dcm").write_bytes(data)
    out = io.StringIO()
    call_command("predict", str(tmp_path / "odd.dcm"), "--json", stdout=out)
    (entry,) = json.loads(out.getvalue())
    assert {warning["code"] for warning in entry["warnings"]} == {
        "age-outside-validated-range",
        "polarity-contradiction",
    }
    posted = Client().post("/api/v1/predict", data, content_type="application/dicom", headers=north.bearer)
    assert posted.json()[0]["warnings"] == entry["warnings"]


def test_a_picture_is_drawn_as_large_as_the_image_with_square_pixels(
    starter: Any, north: Hospital, read_studies: Callable[[], int], twins: Any
) -> None:
    instance = take(north, twins(HALF_THE_ROWS, PixelSpacing=[0.2, 0.1], ImagerPixelSpacing=[0.2, 0.1])[1])
    read_studies()
    assert (instance.rows, instance.columns) == (256, 512)
    with Image.open(io.BytesIO(image_png(instance))) as picture:
        assert picture.size == (512, 512)
    with tenant_tx(north.tenant.id):
        job = InferenceJob.objects.get()
        assert (job.state, job.picture_rows, job.picture_columns) == ("complete", 512, 512)
