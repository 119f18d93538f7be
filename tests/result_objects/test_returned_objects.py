"""Results that come back, ours or another manufacturer's, are stored and never read."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom

from apps.inference.models import InferenceJob
from apps.studies.models import Instance, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.result_objects.conftest import objects, want
from tests.result_objects.test_combinations import sign


def of_another_manufacturer(data: bytes) -> bytes:
    """The same object as a third party would make it."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.Manufacturer, dataset.ManufacturerModelName = "Acme", "Chest reader"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID[:40]}.1"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_own_and_foreign_results_are_never_read(
    north: Hospital, south: Hospital, read_study: Callable[..., Study], send: Any, tmp_path: Path
) -> None:
    want(north)
    study = read_study(north, Effusion=0.9)
    sign(north, study)
    made = [each.data for each in objects(north, study).values()]
    assert len(made) == 3

    for data in made:
        assert not send(north, data).is_new, "an instance of the study since it was made"
        assert send(south, data).is_new, "a hospital that has not its image"
    for data in map(of_another_manufacturer, made):
        assert send(north, data).is_new
        assert send(south, data).is_new

    with tenant_tx(north.tenant.pk):
        assert InferenceJob.objects.count() == 1
    with tenant_tx(south.tenant.pk):
        captures = Instance.objects.filter(rows__isnull=False)
        assert sorted(each.unreadable for each in captures) == ["derived-image", "own-object"]
