"""A damaged object is never read; sending it again restores it and its reading."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from apps.audit.services import Actor
from apps.core.errors import ObjectLostError
from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob
from apps.inference.rendering import image_png
from apps.ingest.intake import ingest_instance, inspect_file
from apps.studies.models import Instance
from apps.studies.spool import open_spool
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.studies import objects

DAMAGES = ("flipped", "truncated", "empty", "missing")


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    path.unlink()
    data[-1000] ^= 1
    if kind != "missing":
        path.write_bytes({"flipped": data, "truncated": data[:-500], "empty": b""}[kind])


def send(hospital: Hospital, data: bytes) -> Any:
    with open_spool() as spool:
        inspected = inspect_file(spool.write(data))
        return ingest_instance(inspected, tenant_id=hospital.tenant.id, by=Actor(name="test"), source="test")


def ended(hospital: Hospital) -> dict[Any, tuple[str, str]]:
    """State and reason of each study's latest job."""
    with tenant_tx(hospital.tenant.id):
        return {job.study_id: (job.state, job.reason_code) for job in InferenceJob.objects.order_by("id")}


def test_a_damaged_object_is_never_read_and_sending_it_again_restores_it(
    north: Hospital, make_film: Callable[..., Path], read_studies: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    films = {kind: make_film(seed=seed, size=256).read_bytes() for seed, kind in enumerate((*DAMAGES, "whole"))}
    studies = {kind: send(north, data).study_id for kind, data in films.items()}
    with tenant_tx(north.tenant.id):
        instances = {each.series.study_id: each for each in Instance.objects.select_related("series")}
    paths = {kind: Path(default_storage.path(instances[study].object_key)) for kind, study in studies.items()}
    for kind in DAMAGES:
        damage(paths[kind], kind)

    read_studies()
    found = ended(north)
    assert {kind: found[study] for kind, study in studies.items()} == {
        "flipped": (JobState.REJECTED, "object-damaged"),
        "truncated": (JobState.REJECTED, "object-damaged"),
        "empty": (JobState.REJECTED, "object-damaged"),
        "missing": (JobState.REJECTED, "object-missing"),
        "whole": (JobState.COMPLETE, ""),
    }
    alerts = [record.getMessage() for record in caplog.records if record.name == "apps.studies.storage"]
    assert len(alerts) == len(DAMAGES)
    for kind in DAMAGES:
        with pytest.raises(ObjectLostError, match="send it again"):
            image_png(instances[studies[kind]])

    for kind in DAMAGES:
        assert not send(north, films[kind]).is_new
        assert paths[kind].read_bytes() == films[kind]
    read_studies()
    assert set(ended(north).values()) == {(JobState.COMPLETE, "")}

    damage(paths["whole"], "flipped")
    send(north, films["whole"])
    with tenant_tx(north.tenant.id):
        jobs = InferenceJob.objects.filter(study=studies["whole"]).order_by("id")
        assert [job.state for job in jobs] == [JobState.COMPLETE, JobState.QUEUED], "What was restored is read again."
    send(north, films["flipped"])
    with tenant_tx(north.tenant.id):
        assert InferenceJob.objects.filter(study=studies["flipped"]).count() == 2, "A whole one is not."


def test_the_best_image_is_read_again_after_its_object_was_restored(
    north: Hospital, read_studies: Callable[[], int]
) -> None:
    best = objects.image("2.25.7", 1)
    send(north, best)
    send(north, objects.image("2.25.7", 2, ViewPosition="AP"))
    with tenant_tx(north.tenant.id):
        instance = Instance.objects.get(view_position="PA")
    damage(Path(default_storage.path(instance.object_key)), "flipped")
    read_studies()
    with tenant_tx(north.tenant.id):
        fallback = InferenceJob.objects.latest("id")
    assert (fallback.state, fallback.instance_id == instance.pk) == (JobState.COMPLETE, False)
    send(north, best)
    read_studies()
    with tenant_tx(north.tenant.id):
        latest = InferenceJob.objects.latest("id")
    assert (latest.state, latest.instance_id) == (JobState.COMPLETE, instance.pk)
