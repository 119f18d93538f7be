"""What Compose, Slurm and Kubernetes start: options that exist, one training of all nodes, valid manifests."""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ml.training.config import TrainingConfig
from ml.training.nodes import Nodes
from ml.training.options import add_arguments, from_arguments
from tests.conftest import PROJECT_ROOT
from tests.deploy.nodes import KUBERNETES, NODES, SBATCH, WAYS, Place, starts

# Prints the arguments that a node's command gives to Python, on one line.
PYTHON = '#!/bin/sh\necho "$*"\n'


def parsed(arguments: list[str]) -> tuple[TrainingConfig, Nodes]:
    assert arguments[:2] == ["-m", "ml.training"]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments[2:])
    return from_arguments(given, given.out)


def shown(way: str, tmp_path: Path, weights: str) -> list[subprocess.CompletedProcess[str]]:
    shims = tmp_path / "bin"
    shims.mkdir()
    (shims / "python").write_text(PYTHON)
    (shims / "python").chmod(0o755)
    place = Place(tmp_path / "data", tmp_path / "runs", 29555)
    done = []
    for start in starts(way, place, weights, shims):
        process = start.popen(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=30)
        done.append(subprocess.CompletedProcess(start.command, process.returncode, out, err))
    return done


@pytest.mark.parametrize("way", WAYS)
def test_the_nodes_train_what_was_asked_for(way: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.touch()
    commands = [line.split() for done in shown(way, tmp_path, str(weights)) for line in done.stdout.splitlines()]
    assert len(commands) == NODES
    for config, nodes in map(parsed, commands):
        assert config.init_weights == str(weights)
        assert (config.architecture, config.recipe.epochs, config.recipe.warmup) == ("test_efficientnet", 1, 0.1)
        assert config.data == tmp_path / "data"
        assert config.out.parent == tmp_path / "runs"
        assert (nodes.minimum, nodes.maximum, nodes.rdzv_endpoint) == (NODES, NODES, "127.0.0.1:29555")
    assert commands[0] == commands[1]


def test_compose_without_weights_says_so(tmp_path: Path) -> None:
    (done, _) = shown("compose", tmp_path, "")
    arguments = done.stdout.replace("--init-weights ", "--init-weights=", 1).split()
    with pytest.raises(ValueError, match=r"--init-weights is empty \(with Compose: TRAINING_INIT_WEIGHTS\)"):
        parsed(arguments)


def test_slurm_without_weights_says_so(tmp_path: Path) -> None:
    (done,) = shown("slurm", tmp_path, "")
    assert done.returncode != 0
    assert "TRAINING_INIT_WEIGHTS: Set it to a file of weights" in done.stderr


@pytest.fixture(scope="module")
def schemas() -> Any:
    return json.loads((Path(__file__).parent / "kubeflow_schemas.json").read_text())


@pytest.mark.parametrize("name", ["trainjob.yaml", "pytorchjob.yaml", "volumes.yaml"])
def test_the_manifests_follow_the_published_schemas(name: str, schemas: Any) -> None:
    for document in yaml.safe_load_all((KUBERNETES / name).read_text()):
        schema = {"$ref": f"#/$defs/{document['kind']}", "$defs": schemas["$defs"]}
        jsonschema.validate(document, schema)


def test_a_wrong_key_of_a_manifest_would_be_noticed(schemas: Any) -> None:
    (job,) = yaml.safe_load_all((KUBERNETES / "pytorchjob.yaml").read_text())
    job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["arguments"] = []
    with pytest.raises(jsonschema.ValidationError, match="arguments"):
        jsonschema.validate(job, {"$ref": "#/$defs/PyTorchJob", "$defs": schemas["$defs"]})


@pytest.mark.parametrize("name", ["trainjob.yaml", "pytorchjob.yaml"])
def test_the_pods_are_locked_down_and_mount_what_they_name(name: str) -> None:
    text = (KUBERNETES / name).read_text()
    pods = [pod for document in yaml.safe_load_all(text) for pod in _pods(document)]
    assert pods
    claims = {claim["metadata"]["name"] for claim in yaml.safe_load_all((KUBERNETES / "volumes.yaml").read_text())}
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        named = {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v}
        assert named == claims


def _pods(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value] if "containers" in value else [pod for each in value.values() for pod in _pods(each)]
    return [pod for each in value for pod in _pods(each)] if isinstance(value, list) else []


def test_the_pages_name_the_files_and_every_variable() -> None:
    slurm = (PROJECT_ROOT / "docs" / "training-slurm.md").read_text()
    for variable in ("TRAINING_DATA", "TRAINING_OUT", "TRAINING_INIT_WEIGHTS", "TRAINING_CACHE", "TRAINING_PORT"):
        assert f"`{variable}`" in slurm
        assert f"${{{variable}:" in SBATCH.read_text()
    kubernetes = (PROJECT_ROOT / "docs" / "training-kubernetes.md").read_text()
    for variable in ("TRAINING_RUN", "TRAINING_ARCH", "TRAINING_RECIPE", "TRAINING_EPOCHS", "TRAINING_INIT_WEIGHTS"):
        assert f"`{variable}`" in kubernetes
        for name in ("trainjob.yaml", "pytorchjob.yaml"):
            assert f"deploy/kubernetes/{name}" in kubernetes
            assert f"{{name: {variable}, value:" in (KUBERNETES / name).read_text()
