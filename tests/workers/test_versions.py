"""Several versions in one worker: pins, operating points of a tenant, bad artifacts, rollbacks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from safetensors.numpy import load_file, save

from apps.inference.models import Finding, JobState, Worker
from apps.registry.models import ModelVersion
from apps.registry.points import Choice
from apps.registry.services import activate, roll_back, set_points, unpin
from apps.tenants.scope import tenant_tx
from ml.artifact import MANIFEST, WEIGHTS, file_sha256
from tests.conftest import STARTER, Hospital
from tests.flows.processes import wait_for
from tests.workers.loading import change, held, of, registered, second, working

__all__ = ["second"]


def test_each_hospital_is_read_by_the_version_that_it_is_pinned_to(
    starter: Any, second: ModelVersion, north: Hospital, south: Hospital, store_film: Callable[..., Any]
) -> None:
    activate(version=second, tenant=north.tenant, actor="test")
    for hospital in (north, south):
        store_film(hospital, seed=1, size=256)
    with working() as drain:
        assert drain.run() == 2
        assert (of(north).model_version, of(south).model_version) == (second, starter)
        wait_for(lambda: set(held().values()) == {"serving"} and len(held()) == 2, 10, "Two versions in the row")

        unpin(tenant=north.tenant, actor="test")
        store_film(north, seed=5, size=256)
        assert drain.run() == 1
        assert of(north).model_version == starter
        wait_for(lambda: held().get(str(second)) == "kept for a rollback", 10, "The spare in the row")


def test_findings_are_judged_by_the_hospital_s_own_operating_points(
    starter: Any, north: Hospital, south: Hospital, store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    set_points(
        version=starter, tenant=north.tenant, actor="test", recent={},
        choices={"Effusion": Choice("manual", value=1e-6, reason="Flag every film.")},
    )  # fmt: skip
    for hospital in (north, south):
        store_film(hospital, seed=1, size=256)
    read_studies()
    own, shared = (effusion(hospital) for hospital in (north, south))
    assert (own.threshold, own.positive) == (1e-6, True)
    assert shared.threshold == starter.thresholds["Effusion"]["value"]
    assert own.probability == shared.probability


def effusion(hospital: Hospital) -> Finding:
    with tenant_tx(hospital.tenant.id):
        return Finding.objects.get(label="Effusion")


def with_nan(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = next(name for name, value in tensors.items() if value.dtype.kind == "f" and not name.startswith("gate"))
    tensors[name] = np.full_like(tensors[name], np.nan)
    (folder / WEIGHTS).write_bytes(save(tensors))
    change(folder, weights_sha256=file_sha256(folder / WEIGHTS))


def with_other_labels(folder: Path) -> None:
    change(folder, labels=list(reversed(json.loads((folder / MANIFEST).read_text())["labels"])))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(with_nan, "weights-not-finite"), (with_other_labels, "labels-mismatch"), (lambda _: None, "identity-mismatch")],
)
def test_a_bad_version_is_refused_with_its_reason_and_the_old_one_goes_on(
    starter: Any, north: Hospital, south: Hospital, store_film: Callable[..., Any], tmp_path: Path,
    damage: Callable[[Path], None], reason: str,
) -> None:  # fmt: skip
    bad = registered(tmp_path / "registered", reason)
    folder = shutil.copytree(STARTER, tmp_path / "bad", copy_function=shutil.copyfile)
    damage(folder)
    for name in (MANIFEST, WEIGHTS):
        default_storage.delete(f"{bad.object_prefix}/{name}")
        default_storage.save(f"{bad.object_prefix}/{name}", ContentFile((folder / name).read_bytes()))
    with working() as drain:
        activate(version=bad, tenant=north.tenant, actor="test")
        wait_for(lambda: drain.run() or Worker.objects.filter(error__contains=reason).exists(), 30, "The refusal")
        for hospital in (north, south):
            store_film(hospital, seed=1, size=256)
        assert drain.run() == 2
        assert (of(north).model_version, of(south).model_version) == (starter, starter)
        assert held() == {str(starter): "serving", str(bad): "refused"}
    # A worker that never read the pinned hospital by another version does not begin to.
    for hospital in (north, south):
        store_film(hospital, seed=2, size=256)
    with working() as drain:
        assert drain.run() == 1
        assert (of(north).state, of(south).state) == (JobState.QUEUED, JobState.COMPLETE)


def test_a_rollback_swaps_back_at_once(
    starter: Any, second: ModelVersion, north: Hospital, store_film: Callable[..., Any]
) -> None:
    with working() as drain:
        activate(version=second, actor="test")
        wait_for(lambda: drain.run() or held().get(str(second)) == "serving", 90, "The switch")
        roll_back(actor="test")
        store_film(north, seed=1, size=256)
        assert drain.run() == 1
        assert of(north).model_version == starter
