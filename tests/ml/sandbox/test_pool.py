import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.errors import RETRYABLE, InputRejected
from ml.sandbox.pool import Sandbox
from tests.ml.sandbox import tasks

ROOT = Path(__file__).parents[3]


def box_of(workers: int, **limits: Any) -> Sandbox:
    return Sandbox(workers, modules=[tasks.__name__], **limits)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with box_of(1, memory_bytes=512 << 20, cpu_seconds=1, wall_seconds=2) as box:
        yield box


def refusal(box: Sandbox, function: Callable[..., Any], *arguments: Any) -> InputRejected:
    with pytest.raises(InputRejected) as caught:
        box.submit(function, *arguments).result(timeout=20)
    return caught.value


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A zombie process, whose parent has not read its status, has ended too.
    return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_results_come_back_and_the_child_is_kept(sandbox: Sandbox) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(sandbox.submit(tasks.double, values).result(), values * 2)
    before = sandbox.pids()
    assert sandbox.submit(tasks.chatter).result() == "quiet"
    assert refusal(sandbox, tasks.reject).code == "too-deep"
    assert sandbox.pids() == before


def test_the_child_has_no_torch_and_no_network(sandbox: Sandbox) -> None:
    assert sandbox.submit(tasks.torch_loaded).result() is False
    if sys.platform.startswith("linux"):
        # The system call filter allows no socket, so a connection can't even be tried.
        assert refusal(sandbox, tasks.interfaces).code == "decode-failed"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux grants RLIMIT_AS")
def test_limits_are_in_force(sandbox: Sandbox) -> None:
    limits = sandbox.submit(tasks.limits).result()
    assert limits["RLIMIT_AS"] == [512 << 20, 512 << 20]
    assert limits["RLIMIT_CORE"][1] == 0
    assert limits["RLIMIT_NOFILE"][1] <= 32
    assert limits["RLIMIT_CPU"][0] <= 5


@pytest.mark.parametrize(
    ("function", "arguments", "code"),
    [
        (tasks.take_memory, (2 << 30,), "decode-memory"),
        (tasks.die, (3,), "decode-crashed"),
        (tasks.signal_self, (signal.SIGSEGV,), "decode-crashed"),
        (tasks.signal_self, (signal.SIGTERM,), "decoder-ended"),
        (tasks.burn, (), "decode-timeout"),
        (tasks.sleep, (60.0,), "decode-timeout"),
        (tasks.content, (Path("/nonexistent/file"),), "source-unreadable"),
    ],
)
def test_each_crash_is_one_refusal(
    sandbox: Sandbox, function: Callable[..., Any], arguments: tuple[Any, ...], code: str
) -> None:
    start = time.monotonic()
    assert refusal(sandbox, function, *arguments).code == code
    assert time.monotonic() - start < 20
    assert sandbox.submit(tasks.sleep, 0.0).result(timeout=20) == 0.0
    assert "CHECXRAY_OWNED" not in os.environ


def test_an_exception_gives_its_class_and_not_its_message(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    refused = refusal(sandbox, tasks.fail, "Müller^Erika")
    assert refused.code == "decode-failed"
    assert "KeyError" in refused.detail
    assert "tasks.py" in caplog.text
    assert "Erika" not in str(refused) + caplog.text


def test_a_child_killed_while_idle_is_replaced_and_no_task_lost(sandbox: Sandbox) -> None:
    sandbox.submit(tasks.sleep, 0.0).result()
    (pid,) = sandbox.pids()
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: gone(pid))
    code = None
    try:
        assert sandbox.submit(tasks.sleep, 0.0).result(timeout=20) == 0.0
    except InputRejected as refused:
        code = refused.code
    assert code is None or code in RETRYABLE
    assert sandbox.pids() != [pid]


def test_one_crash_does_not_affect_other_tasks() -> None:
    with box_of(2, wall_seconds=10) as box, ThreadPoolExecutor(4) as threads:
        bad = threads.submit(lambda: refusal(box, tasks.die, 1))
        good = [threads.submit(lambda: box.submit(tasks.sleep, 0.02).result(timeout=20)) for _ in range(20)]
        assert [future.result() for future in good] == [0.02] * 20
        assert bad.result().code == "decode-crashed"
        assert 1 <= len(box.pids()) <= 2


def test_children_start_only_when_needed_and_no_more_than_needed() -> None:
    with box_of(4) as box:
        assert box.pids() == []
        for _ in range(5):
            box.submit(tasks.sleep, 0.0).result()
            time.sleep(0.01)
        assert len(box.pids()) == 1


def test_close_ends_busy_children_and_cancels_waiting_tasks() -> None:
    box = box_of(1)
    box.submit(tasks.sleep, 0.0).result()
    running, waiting = box.submit(tasks.sleep, 30.0), box.submit(tasks.sleep, 30.0)
    assert wait_until(running.running)
    (pid,) = box.pids()
    start = time.monotonic()
    box.close()
    box.close()
    assert time.monotonic() - start < 5
    assert gone(pid)
    assert waiting.cancelled()
    assert running.exception().code in RETRYABLE  # type: ignore[union-attr]
    with pytest.raises(RuntimeError):
        box.submit(tasks.sleep, 0.0)


_PARENT = """
import time
from ml.sandbox.pool import Sandbox
from tests.ml.sandbox import tasks
box = Sandbox(2, cpu_seconds=3, wall_seconds=3, modules=["tests.ml.sandbox.tasks"])
busy = box.submit(tasks.burn)
while len(box.pids()) < 2:
    box.submit(tasks.sleep, 0.01).result()
print(*box.pids(), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_children_do_not_outlive_a_killed_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert len(pids) == 2
    assert wait_until(lambda: all(gone(pid) for pid in pids)), "a child outlived its parent"


def test_the_overhead_of_a_task_stays_under_a_millisecond() -> None:
    with box_of(1) as box:
        box.submit(tasks.sleep, 0.0).result()
        spent = []
        for _ in range(200):
            start = time.perf_counter()
            box.submit(abs, -1).result()
            spent.append(time.perf_counter() - start)
    assert sorted(spent)[100] < 1e-3


def test_start_of_a_child_takes_about_a_second_of_cpu() -> None:
    """CPU time and not wall time, because the machine may be busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with box_of(1) as box:
        box.submit(abs, -1).result()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
