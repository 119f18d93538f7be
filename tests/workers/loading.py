"""Versions that a worker loads, and helpers to see which it holds."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from apps.inference.models import InferenceJob, Worker
from apps.registry.models import ModelVersion
from apps.registry.services import register
from apps.tenants.scope import tenant_tx
from ml.model.manifest import MANIFEST
from tests.conftest import STARTER, Hospital
from tests.flows.processes import wait_for
from workers.inference_worker import InferenceWorker


def registered(folder: Path, card: str, **more: Any) -> ModelVersion:
    """The starter with another card, or other parts of its manifest."""
    shutil.copytree(STARTER, folder, copy_function=shutil.copyfile)
    change(folder, card=card, **more)
    return register(artifact_dir=folder)


@pytest.fixture
def second(starter: Any, tmp_path: Path) -> ModelVersion:
    """The starter under another card."""
    return registered(tmp_path / "second", "The second.")


def change(folder: Path, **values: Any) -> None:
    (folder / MANIFEST).write_text(json.dumps({**json.loads((folder / MANIFEST).read_text()), **values}))


@contextmanager
def working() -> Iterator[InferenceWorker]:
    with InferenceWorker(device="cpu") as worker:
        yield worker


def of(hospital: Hospital) -> InferenceJob:
    with tenant_tx(hospital.tenant.id):
        return InferenceJob.objects.select_related("model_version").latest("id")


def held() -> dict[str, str]:
    worker = Worker.objects.first()
    return {each["version"]: each["state"] for each in worker.versions} if worker else {}


def run_until_held(worker: InferenceWorker, version: ModelVersion, state: str, seconds: float = 30) -> None:
    """Let the worker process jobs until it reports this state of the version."""

    def is_held() -> bool:
        worker.run()
        return held().get(str(version)) == state

    wait_for(is_held, seconds, f"That {version} is {state}")
