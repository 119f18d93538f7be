"""Nodes on several hosts: network namespaces with addresses and hosts files of their own, joined by a bridge."""

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
from tests.conftest import PROJECT_ROOT
from tests.ml.training.conftest import Command
from tests.ml.training.rank_tasks import in_ranks
from tests.ml.training.test_launch import assert_same_curve, settings, uninterrupted

Start = Callable[..., Command]
CHIEF = "trainer-1"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@dataclass(frozen=True)
class Hosts:
    """Names of the namespaces; host N has the address 192.168.X.(N + 1)."""

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

    def make(self) -> None:
        ip("link", "add", self.bridge, "type", "bridge")
        ip("link", "set", self.bridge, "up")
        for number, name in enumerate(self.names):
            ip("netns", "add", name)
            outer, inner = f"{self.bridge}p{number}", f"{self.bridge}e{number}"
            ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            ip("link", "set", inner, "netns", name)
            ip("link", "set", outer, "master", self.bridge, "up")
            ip("-n", name, "addr", "add", f"{self.address(number)}/24", "dev", inner)
            ip("-n", name, "link", "set", inner, "up")
            ip("-n", name, "link", "set", "lo", "up")
            # `ip netns exec` shows it as /etc/hosts. Installers give the machine's own name 127.0.1.1.
            hosts = Path("/etc/netns") / name / "hosts"
            hosts.parent.mkdir(parents=True)
            own = "127.0.1.1" if number == 0 else self.address(0)
            hosts.write_text(f"127.0.0.1 localhost\n{own} {CHIEF}\n")
            resolver = f"nameserver {self.address(0)}\noptions timeout:4 attempts:1\n"
            (hosts.parent / "resolv.conf").write_text(resolver)

    def remove(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("Network namespaces need root and iproute2.")
    tag = f"{os.getpid() % 10000}"
    made = Hosts(tuple(f"chx{tag}n{n}" for n in range(2)), f"chx{tag}", f"192.168.{20 + os.getpid() % 200}")
    try:
        made.make()
        yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"This system allows no network namespaces: {error.stderr.decode().strip()}")
    except OSError as error:
        pytest.skip(f"Namespaces can't have hosts files here: {error}")
    finally:
        made.remove()


@pytest.fixture
def silent_name_server(hosts: Hosts) -> Iterator[None]:
    """A name server that never answers. torch's store looks up the name of each peer that connects."""
    script = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 53)); time.sleep(600)"
    server = subprocess.Popen([*hosts.within(0), sys.executable, "-c", script])
    yield
    server.kill()
    server.wait(60)


def found_within(hosts: Hosts, number: int, endpoint: str) -> str:
    """The endpoint as that host sees it: its address, whether it is here, and what the host announces."""
    script = f"""
from ml.training.rendezvous import find_endpoint
try:
    found = find_endpoint({endpoint!r})
    print(found.address, found.is_here, found.announced)
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [*hosts.within(number), sys.executable, "-c", script],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()


def test_an_address_is_announced_that_other_hosts_reach(hosts: Hosts) -> None:
    chief, other = hosts.address(0), hosts.address(1)
    assert found_within(hosts, 0, CHIEF) == f"127.0.1.1 True {chief}"
    assert found_within(hosts, 1, CHIEF) == f"{chief} False {other}"
    assert found_within(hosts, 0, chief) == f"{chief} True {chief}"
    assert found_within(hosts, 0, "localhost") == "127.0.0.1 True 127.0.0.1"
    ip("-n", hosts.names[0], "link", "add", "second", "type", "veth", "peer", "name", "third")
    try:
        ip("-n", hosts.names[0], "addr", "add", "192.168.9.9/24", "dev", "second")
        ip("-n", hosts.names[0], "link", "set", "second", "up")
        message = found_within(hosts, 0, CHIEF)
        assert f"{CHIEF} is 127.0.1.1 on this machine, which other machines can't reach" in message
        assert chief in message
        ip("-n", hosts.names[0], "route", "add", "default", "dev", f"{hosts.bridge}e0")
        assert found_within(hosts, 0, CHIEF) == f"127.0.1.1 True {chief}"
        ip("-n", hosts.names[0], "route", "del", "default")
    finally:
        ip("-n", hosts.names[0], "link", "del", "second")


def test_an_endpoint_out_of_reach_ends_within_the_join_timeout(hosts: Hosts, command: Start) -> None:
    begun = time.monotonic()
    gone = f"{hosts.subnet}.99:29400"
    run = command("--nnodes", "2", "--rdzv-endpoint", gone, "--join-timeout", "3", prefix=hosts.within(1))
    assert run.ended() == 1
    assert f"{gone} could not be reached from {hosts.address(1)} within 3 s" in run.text()
    assert time.monotonic() - begun < 30


@pytest.mark.long
def test_a_host_that_is_cut_off_and_comes_back(
    hosts: Hosts, silent_name_server: None, command: Start, data_folder: Path, tmp_path: Path
) -> None:
    """The endpoint is a name that means 127.0.1.1 on the chief's own host; a lookup takes longer than the silence."""
    options = (
        *("--nnodes", "2", "--rdzv-endpoint", f"{CHIEF}:29400", "--epochs", "6"),
        *("--collective-timeout", "4", "--join-timeout", "60", "--silence-timeout", "3"),
    )
    chief, other = runs = [command(*options, out=f"host{n}", prefix=hosts.within(n)) for n in range(2)]
    chief.until(lambda: len(chief.events("epoch")) >= 2)
    hosts.link(1, "down")
    try:
        before = len(chief.events("epoch"))
        time.sleep(6)
        assert len(chief.events("epoch")) <= before + 1
    finally:
        hosts.link(1, "up")
    assert [run.ended() for run in runs] == [0, 0], [run.text() for run in runs]
    starts = chief.events("start")
    assert {start["world_size"] for start in starts} == {2}
    assert len(starts) >= 2
    assert load_artifact(chief.out / "artifact").manifest.metrics["selected_epoch"] >= 1
    assert not (other.out / "artifact").exists()
    assert not other.path.exists()
    assert not (other.out / "checkpoints").exists()
    assert "Training is complete on this node" in other.text()
    config = replace(settings(data_folder, tmp_path / "calm", 6), cache=chief.out / "cache")
    assert_same_curve(chief.curve(), in_ranks(2, tmp_path, uninterrupted, config)[0])


@pytest.fixture
def ssh(hosts: Hosts, tmp_path: Path) -> Iterator[str]:
    """A real sshd on the second host; the ssh command that it lets in."""
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(server).exists() or not shutil.which("ssh"):
        pytest.skip("openssh-server and openssh-client are not installed.")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True, timeout=20)
    (tmp_path / "sshd").write_text(
        f"ListenAddress {hosts.address(1)}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nSetEnv OMP_NUM_THREADS=1\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with (tmp_path / "sshd.log").open("wb") as log:
        daemon = subprocess.Popen([*hosts.within(1), server, "-D", "-e", "-f", tmp_path / "sshd"], stderr=log)
    try:
        yield (
            f"ssh -i {tmp_path}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
            "-o ConnectTimeout=5"
        )
    finally:
        daemon.terminate()
        daemon.wait(60)


def test_hosts_are_started_over_ssh_and_meet_at_an_address_of_this_one(
    hosts: Hosts, ssh: str, command: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINING_SSH", ssh)
    monkeypatch.setenv("TRAINING_HOSTS", f"localhost,{hosts.address(1)}")
    run = command("--nnodes", "2", "--epochs", "1", prefix=hosts.within(0))
    assert run.ended() == 0, run.text()
    assert f"they meet at {hosts.address(0)}:29400" in run.text()
    assert load_artifact(run.out / "artifact").manifest.name == "chexnet-test_efficientnet"
    assert [start["world_size"] for start in run.events("start")] == [2]
    gone = f"{hosts.subnet}.99"
    monkeypatch.setenv("TRAINING_HOSTS", f"localhost,{gone}")
    run = command("--nnodes", "2", "--epochs", "1", out="gone", prefix=hosts.within(0))
    assert run.ended() == 1
    assert f"{gone} can't be reached over ssh: ssh: connect to host {gone}" in run.text()


def test_the_launcher_needs_no_torch() -> None:
    modules = "ml.training.launch, ml.training.options, ml.training.progress, ml.training.ssh"
    check = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0
