"""Tests with malicious code in a decoding process: it has no access, and its parent checks every reply."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.errors import RETRYABLE, InputRejected
from ml.model.serving_input import load_input
from ml.model.thorax import SIDE
from ml.model.transforms import InputSpace
from ml.sandbox.confinement import missing_protections
from ml.sandbox.pool import Sandbox, Writable
from ml.sandbox.wire import CONTRACTS, InvalidMessage, pack, parse_header, unpack
from tests.ml.sandbox import tasks

confined = pytest.mark.skipif(bool(missing_protections()), reason=f"not on this machine: {missing_protections()}")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1, cpu_seconds=5, wall_seconds=3, modules=[tasks.__name__]) as box:
        yield box


def code_of(future: "Future[Any]") -> str:
    error = future.exception(timeout=60)
    assert isinstance(error, InputRejected), error
    return error.code


@confined
def test_a_hostile_child_has_no_access(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "canary-secret")
    secret = tmp_path / "secret"
    secret.write_text("canary-secret")
    address = str(tmp_path / "s")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(address)
        unix.listen()
        ways: list[tuple[str, Any]] = [
            ("read", str(secret)),
            ("read", "/etc/passwd"),
            ("read", __file__),
            ("write", str(tmp_path / "new")),
            ("list", str(tmp_path)),
            ("parent", os.getpid()),
            ("parent", os.getppid()),
            ("parent", "self"),
            ("memory", os.getpid()),
            ("tcp", tcp.getsockname()[1]),
            ("unix", address),
            ("program", ""),
            ("fork", ""),
            ("kill", os.getpid()),
            ("kill", 0),
            ("kill-self", ""),
            ("limit", os.getpid()),
            ("environment", ""),
            ("import", "antigravity"),
        ]
        reached = {}
        for what, target in ways:
            outcome = sandbox.submit(tasks.attempt, what, target).result(timeout=60)
            if outcome.startswith("GOT"):
                reached[what, target] = outcome
    assert reached == {}
    assert not (tmp_path / "new").exists()
    # Only the socket to the parent is inherited.
    descriptors = sandbox.submit(tasks.attempt, "descriptors", "").result(timeout=60)
    assert descriptors.count(",") == 0, descriptors


def test_a_child_gets_its_input_open_and_may_write_only_where_it_was_given_a_file(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "input").write_bytes(b"the pixels")
    assert sandbox.submit(tasks.content, tmp_path / "input").result(timeout=60) == b"the pixels"
    with (tmp_path / "input").open("rb") as file:
        assert sandbox.submit(tasks.content, file).result(timeout=60) == b"the pixels"
    assert code_of(sandbox.submit(tasks.content, Writable(tmp_path / "out"))) == "decode-failed"


@pytest.mark.parametrize(
    "kind",
    ["pickle", "endless-header", "deep", "huge", "object", "negative", "refusal", "of-another"],
)
def test_a_forged_reply_is_a_refusal_and_its_child_is_ended(kind: str) -> None:
    with Sandbox(1, wall_seconds=10, modules=[tasks.__name__]) as box:
        start = time.monotonic()
        assert code_of(box.submit(tasks.answer, kind)) == "decode-reply-invalid"
        assert time.monotonic() - start < 30
        assert box.submit(tasks.sleep, 0.0).result(timeout=60) == 0.0
    assert "CHECXRAY_OWNED" not in os.environ


def test_a_truncated_or_missing_reply(sandbox: Sandbox) -> None:
    with Sandbox(1, wall_seconds=10, modules=[tasks.__name__]) as box:
        assert code_of(box.submit(tasks.answer, "truncated")) == "decode-crashed"
    assert code_of(sandbox.submit(tasks.answer, "nothing")) == "decode-timeout"


def test_a_reply_without_a_task_is_not_used_for_the_next_task() -> None:
    with Sandbox(1, wall_seconds=10, modules=[tasks.__name__]) as box:
        assert box.submit(tasks.answer_twice).result(timeout=60) == "first"
        second = box.submit(tasks.sleep, 0.0)
        # The forged reply may arrive after the check for early data; then it is refused. It is never a result.
        refused = second.exception(timeout=60)
        assert second.result() == 0.0 if refused is None else code_of(second) == "decode-reply-invalid"
        assert box.submit(tasks.sleep, 0.0).result(timeout=60) == 0.0


def test_a_reply_of_another_shape_is_refused(sandbox: Sandbox) -> None:
    CONTRACTS[tasks.wrong_square] = CONTRACTS[load_input]
    try:
        refused = sandbox.submit(tasks.wrong_square, b"", InputSpace(64).to_dict())
        assert code_of(refused) == "decode-reply-invalid"
    finally:
        del CONTRACTS[tasks.wrong_square]
    accept = CONTRACTS[load_input].accept
    honest = {"tensor_u8": np.zeros((64, 64), np.uint8), "rows": 200, "columns": 100, "photometric": "", "voi": ""}
    honest |= {"warnings": [], "thorax": np.zeros((SIDE, SIDE), np.uint8)}
    for stored, is_right in (((200, 100), True), ((100, 200), True), ((100, 100), True), ((900, 900), False)):
        try:
            accept(honest, b"", InputSpace(64).to_dict(), stored)
            assert is_right, stored
        except ValueError:
            assert not is_right, stored


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def killed_when_busy(box: Sandbox, future: "Future[Any]", times: int, resident: int = 0) -> None:
    """Kill the child that runs a task and uses this much memory, as an operator or the kernel would."""
    seen: set[int] = set()
    deadline = time.monotonic() + 60
    while len(seen) < times and time.monotonic() < deadline:
        fresh = [pid for pid in box.pids() if pid not in seen]
        if fresh and future.running() and (not resident or resident_bytes(fresh[0]) > resident):
            time.sleep(0.5)
            os.kill(fresh[0], signal.SIGKILL)
            seen.add(fresh[0])
        time.sleep(0.02)
    assert len(seen) == times


@pytest.mark.parametrize(("times", "size", "expected"), [(1, 1, None), (2, 1, "decoder-ended")])
def test_a_child_that_another_process_ended_is_retryable(times: int, size: int, expected: str | None) -> None:
    with Sandbox(1, wall_seconds=20, modules=[tasks.__name__]) as box:
        box.submit(tasks.sleep, 0.0).result(timeout=60)
        future = box.submit(tasks.hold_memory, size, 2.0)
        killed_when_busy(box, future, times)
        if expected is None:
            assert future.result(timeout=60) == size
        else:
            assert code_of(future) == expected
            assert expected in RETRYABLE


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for memory in /proc")
def test_a_file_that_needs_too_much_memory_twice_is_refused() -> None:
    size = 400 << 20
    with Sandbox(1, memory_bytes=1 << 30, wall_seconds=20, modules=[tasks.__name__]) as box:
        box.submit(tasks.sleep, 0.0).result(timeout=60)
        future = box.submit(tasks.hold_memory, size, 10.0)
        killed_when_busy(box, future, 2, resident=size)
        assert code_of(future) == "decode-memory"


def test_a_repeated_task_runs_without_other_tasks() -> None:
    with Sandbox(2, wall_seconds=30, modules=[tasks.__name__]) as box:
        for _ in range(2):
            box.submit(tasks.sleep, 0.3)
        box.submit(tasks.sleep, 0.5).result(timeout=60)
        future = box.submit(tasks.sleep, 2.0)
        done: list[float] = []
        threading.Timer(0.5, lambda: [os.kill(pid, signal.SIGKILL) for pid in box.pids()]).start()
        neighbours = [box.submit(tasks.sleep, 0.2) for _ in range(5)]
        for each in neighbours:
            each.add_done_callback(lambda _: done.append(time.monotonic()))
        assert future.result(timeout=60) == 2.0
        assert [each.result(timeout=60) for each in neighbours] == [0.2] * 5


def test_messages_contain_only_plain_values() -> None:
    value = {"number": 1, "a": [np.arange(6, dtype=np.float32).reshape(2, 3), b"xy", None, 1.5, "t"], "e": np.zeros(0)}
    packed = pack(value)
    stream = b"".join(packed.buffers)
    at = 0

    def receive(view: memoryview) -> None:
        nonlocal at
        view[:] = stream[at : at + len(view)]
        at += len(view)

    found = unpack(parse_header(packed.header), receive, 1000)
    assert np.array_equal(found["a"][0], value["a"][0])
    assert found["a"][1:] == value["a"][1:]
    with pytest.raises(TypeError):
        pack({"number": 1, "value": object()})
    for broken in (b"", b"[]", b"nul", b'{"a": NaN}', b"[" * 50_000, b'{"a": 1' + b"0" * 10_000 + b"}"):
        with pytest.raises(InvalidMessage):
            parse_header(broken)
