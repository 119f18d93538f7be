"""The commands of Compose, Slurm and Kubernetes train together, with two ranks on this machine."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from ml.model.artifact import load_artifact
from ml.training import progress
from ml.training.addresses import free_port
from tests.deploy.nodes import NODES, WAYS, Place, starts
from tests.ml.training import layout

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More films than one batch of the recipe."""
    return layout.make(tmp_path_factory.mktemp("films") / "data", count=300)


@pytest.mark.parametrize("way", WAYS)
def test_the_nodes_train_one_version_together(way: str, data: Path, tmp_path: Path) -> None:
    shims = tmp_path / "bin"
    shims.mkdir()
    place = Place(data, tmp_path / "runs", free_port())
    nodes = starts(way, place, "random", shims)
    running = [node.popen(stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for node in nodes]
    try:
        texts = [process.communicate(timeout=480)[0] for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert [process.returncode for process in running] == [0] * len(running), texts
    result = nodes[0].result
    (start,) = (event for event in progress.read(result / progress.FILE) if event["event"] == "start")
    assert (start["world_size"], start["nodes"]) == (NODES, NODES)
    assert "2 ranks on 2 nodes" in load_artifact(result / "artifact").manifest.card
