"""The commands by which Compose, Slurm and Kubernetes start each node of a training, made to run on this machine.

Paths, the device and the endpoint are replaced; everything else is the text of the files.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import PROJECT_ROOT

KUBERNETES = PROJECT_ROOT / "deploy" / "kubernetes"
SBATCH = PROJECT_ROOT / "deploy" / "slurm" / "train.sbatch"
NODES = 2

SRUN = """#!/bin/sh
# Stands in for Slurm's srun: one task for each node, all on this machine; one that fails ends the others.
shift
for node in $(seq "$SLURM_NNODES"); do
    SLURM_PROCID=$((node - 1)) "$@" &
    tasks="$tasks $!"
done
for task in $tasks; do wait "$task" || { kill $tasks 2>/dev/null; exit 1; }; done
"""


@dataclass(frozen=True)
class Place:
    """Where a training runs on this machine: its data, its output and the port of its rendezvous."""

    data: Path
    out: Path
    port: int


@dataclass(frozen=True)
class Start:
    """A command that starts one node, or (Slurm) all of them; `result` is the run's folder."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    result: Path

    def popen(self, **options: Any) -> "subprocess.Popen[str]":
        """Start it in the project's folder."""
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | self.environment
        return subprocess.Popen(
            self.command, cwd=PROJECT_ROOT, env=environment, text=True, start_new_session=True, **options
        )


def _settings(folder: Path) -> dict[str, str]:
    """What a user of any of the three sets; `folder` comes first on the path."""
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "TRAINING_ARCH": "test_efficientnet", "TRAINING_RECIPE": "fast", "TRAINING_EPOCHS": "1"}


def _local(text: str, place: Place) -> str:
    """The text with this machine's paths."""
    return text.replace("--data /data", f"--data {place.data}").replace("/training/", f"{place.out}/")


def compose(place: Place, weights: str, shims: Path) -> list[Start]:
    """The trainers of compose.yaml, interpolated as Compose does."""
    service = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())["services"]["trainer-1"]
    given = _settings(shims) | {"TRAINING_INIT_WEIGHTS": weights, "TRAINING_RUN": "run"}

    def interpolated(text: str) -> str:
        found = re.sub(r"(?<!\$)\$\{(\w+):-([^}]*)\}", lambda m: given.get(m[1]) or m[2], text)
        return found.replace("$$", "$")

    *shell, script = map(interpolated, service["command"])
    script = _local(script, place).replace("--device cuda", "--device cpu").replace("--nnodes 3", f"--nnodes {NODES}")
    script = script.replace("trainer-1:29400", f"127.0.0.1:{place.port}")
    environment = {name: interpolated(value) for name, value in service["environment"].items()}
    return [Start((*shell, script), environment | {"PATH": given["PATH"]}, place.out / "run")] * NODES


def kubernetes(name: str, place: Place, weights: str, shims: Path) -> list[Start]:
    """The container of a manifest, with the environment that its operator adds to each node."""
    documents = list(yaml.safe_load_all((KUBERNETES / name).read_text()))
    if name == "trainjob.yaml":
        runtime, job = documents
        pod = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        listed = job["spec"]["trainer"]["env"]
        added = {"PET_NNODES": f"{NODES}", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": f"{place.port}"}
    else:
        (job,) = documents
        pod = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
        listed = pod["containers"][0]["env"]
        added = {"WORLD_SIZE": f"{NODES}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "23456", "PYTHONUNBUFFERED": "0"}
    (container,) = pod["containers"]
    (script,) = container["args"]
    script = _local(script, place).replace(":29400", f":{place.port}")
    own = {entry["name"]: entry["value"] for entry in listed}
    environment = own | _settings(shims) | {"TRAINING_INIT_WEIGHTS": weights} | added
    ranks = [{"RANK": f"{rank}", "PET_NODE_RANK": f"{rank}"} for rank in range(NODES)]
    result = place.out / own["TRAINING_RUN"]
    return [Start((*container["command"], script), environment | rank, result) for rank in ranks]


def slurm(place: Place, weights: str, shims: Path) -> list[Start]:
    """The batch script, with what Slurm sets for a job, and with stand-ins for its two programs."""
    for program, text in (("srun", SRUN), ("scontrol", "#!/bin/sh\nprintf '127.0.0.1\\nnode-2\\n'\n")):
        (shims / program).write_text(text)
        (shims / program).chmod(0o755)
    environment = _settings(shims) | {
        "TRAINING_DATA": str(place.data),
        "TRAINING_OUT": str(place.out / "run"),
        "TRAINING_INIT_WEIGHTS": weights,
        "TRAINING_PORT": f"{place.port}",
        "SLURM_NNODES": f"{NODES}",
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NODELIST": "node-[1-2]",
    }
    return [Start(("bash", str(SBATCH)), environment, place.out / "run")]


def starts(way: str, place: Place, weights: str, shims: Path) -> list[Start]:
    """The commands of one of WAYS."""
    if way == "compose":
        return compose(place, weights, shims)
    return slurm(place, weights, shims) if way == "slurm" else kubernetes(way, place, weights, shims)


WAYS = ("compose", "slurm", "trainjob.yaml", "pytorchjob.yaml")
