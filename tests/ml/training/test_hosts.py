"""Three nodes as three hosts: network namespaces with addresses of their own, joined by a bridge."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ml.model.artifact import load_artifact
from tests.ml.training.conftest import Command
from tests.ml.training.rank_tasks import in_ranks
from tests.ml.training.test_launch import same, settings, uninterrupted

Start = Callable[..., Command]
PORT = 29400


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@dataclass(frozen=True)
class Hosts:
    """Names of the namespaces; host N has the address 10.77.X.N."""

    names: tuple[str, ...]
    bridge: str
    subnet: str

    def address(self, number: int) -> str:
        return f"{self.subnet}.{number + 1}"

    def within(self, number: int) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.names[number])

    def link(self, number: int, state: str) -> None:
        """Pull out the cable at the bridge, or put it back."""
        ip("link", "set", f"{self.bridge}p{number}", state)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("Network namespaces need root and iproute2.")
    tag = f"{os.getpid() % 10000}"
    made = Hosts(tuple(f"chx{tag}n{n}" for n in range(3)), f"chx{tag}", f"10.77.{os.getpid() % 250}")
    try:
        ip("link", "add", made.bridge, "type", "bridge")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"This system allows no bridge: {error.stderr.decode().strip()}")
    try:
        ip("link", "set", made.bridge, "up")
        for number, name in enumerate(made.names):
            ip("netns", "add", name)
            outer, inner = f"{made.bridge}p{number}", f"{made.bridge}e{number}"
            ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            ip("link", "set", inner, "netns", name)
            ip("link", "set", outer, "master", made.bridge, "up")
            ip("-n", name, "addr", "add", f"{made.address(number)}/24", "dev", inner)
            ip("-n", name, "link", "set", inner, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield made
    finally:
        for name in made.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", made.bridge], capture_output=True, check=False)


def test_a_host_that_is_cut_off_and_comes_back(
    hosts: Hosts, command: Start, films_folder: Path, tmp_path: Path
) -> None:
    options = (
        *("--nnodes", "3", "--rdzv-endpoint", f"{hosts.address(0)}:{PORT}", "--epochs", "10"),
        *("--collective-timeout", "4", "--join-timeout", "60", "--silence-timeout", "3"),
    )
    runs = [command(*options, out=f"host{n}", prefix=hosts.within(n)) for n in range(3)]
    chief = runs[0]
    chief.until(lambda: len(chief.events("epoch")) >= 3)
    hosts.link(2, "down")
    before = len(chief.events("epoch"))
    time.sleep(8)
    assert len(chief.events("epoch")) <= before + 1
    hosts.link(2, "up")
    assert [run.ended() for run in runs] == [0, 0, 0], [run.text() for run in runs]
    starts = chief.events("start")
    assert {start["world_size"] for start in starts} == {3}
    assert len(starts) >= 2
    assert load_artifact(chief.out / "artifact").manifest.metrics["selected_epoch"] >= 1
    for other in runs[1:]:
        assert not (other.out / "artifact").exists()
        assert not other.path.exists()
        assert not (other.out / "checkpoints").exists()
        assert "Training is complete on this node" in other.text()
    config = replace(settings(films_folder, tmp_path / "calm", 10), cache=chief.out / "cache")
    same(chief.curve(), in_ranks(3, tmp_path, uninterrupted, config)[0])


def test_hosts_are_started_from_one(
    hosts: Hosts, command: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for ssh enters the namespace whose address it is given."""
    script = tmp_path / "enter"
    cases = "".join(f'{hosts.address(n)}) exec ip netns exec {hosts.names[n]} sh -c "$2";;\n' for n in range(3))
    script.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\necho "no such host $1" >&2\nexit 255\n')
    script.chmod(0o755)
    monkeypatch.setenv("TRAINING_SSH", str(script))
    monkeypatch.setenv("TRAINING_HOSTS", ",".join(hosts.address(n) for n in range(2)))
    run = command("--nnodes", "2", "--epochs", "2")
    assert run.ended() == 0, run.text()
    assert load_artifact(run.out / "artifact").manifest.name == "chexnet-test_efficientnet"
    assert [start["world_size"] for start in run.events("start")] == [2]
    monkeypatch.setenv("TRAINING_HOSTS", f"{hosts.address(0)},10.99.99.99")
    gone = command("--nnodes", "2", "--epochs", "2", out="gone")
    assert gone.ended() == 1
    assert "10.99.99.99 can't be reached over ssh: no such host" in gone.text()


def test_the_launcher_needs_no_torch() -> None:
    modules = "ml.training.launch, ml.training.options, ml.training.progress, ml.training.config, ml.training.node"
    check = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0
