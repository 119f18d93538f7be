"""The parent's side of one sandboxed child: start it, exchange messages with it, end it, and explain its end."""

import functools
import logging
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ml.errors import InputRejected
from ml.sandbox.wire import LENGTH, MAX_HEADER_BYTES, InvalidMessage, pack, parse_header, unpack

START_SECONDS: Final = 20.0
OPEN_FILES: Final = 32
_POLL_SECONDS: Final = 0.02
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# Signals by which an operator, a supervisor or the kernel (out of memory) ends a process. The child's own limits use
# other signals, and its system call filter prevents it from sending SIGKILL to itself.
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Limits of a child's address space and of one task's CPU and wall time; `modules` are imported at its start."""

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    modules: tuple[str, ...]


class EndedFromOutside(Exception):
    """Another process ended the child. `grown_bytes` is by how much its memory grew at most since its start."""

    def __init__(self, grown_bytes: int) -> None:
        super().__init__(grown_bytes)
        self.grown_bytes = grown_bytes


class Child:
    """A child process and the socket to it.

    Raises:
        InputRejected: the process can't be started.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Random for each task, so that a child cannot send a reply before it has received the task.
        self._number = 0
        self._memory_at_start = 0
        self._largest_memory = 0
        self._lock = threading.Lock()
        self._status: int | None = None
        self._socket, child_socket = socket.socketpair()
        with child_socket:
            try:
                # A session of its own, because Ctrl-C ends a whole process group.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "ml.sandbox.child", *_arguments(limits, child_socket.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    pass_fds=(child_socket.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                self._socket.close()
                raise InputRejected("sandbox-unavailable", "No decoding process can be started. Try again.") from error
        self.pid = self._process.pid
        try:
            ready = self.receive(START_SECONDS, 0)
            if ready.get("outcome") != "ready":
                raise InvalidMessage("not ready")
        except (EOFError, TimeoutError, InvalidMessage):
            status = self.reap()
            _log.error("A decoding process did not start (status %d). Run: python -m ml.sandbox.child", status)
            raise InputRejected("sandbox-unavailable", "No decoding process can be started. Try again.") from None
        self._memory_at_start = self._largest_memory = self._memory_now()
        _log_once(tuple(str(each) for each in ready.get("missing", ())))

    def send(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        """Send a task.

        Raises:
            OSError: the child has ended, or sent something before it got the task.
        """
        if self._has_data(0):
            raise OSError("a decoding process ended, or sent data without a task")
        self._number = secrets.randbits(48)
        name = f"{function.__module__}:{function.__qualname__}"
        message = pack({"number": self._number, "function": name, "arguments": list(arguments)})
        data = memoryview(LENGTH.pack(len(message.header)) + message.header)
        descriptors = [file.fileno() for file in message.files]
        self._socket.settimeout(self._limits.wall_seconds)
        # The open files travel with the first byte.
        sent = socket.send_fds(self._socket, [data], descriptors) if descriptors else 0
        self._socket.sendall(data[sent:])
        for buffer in message.buffers:
            self._socket.sendall(buffer)

    def receive(self, seconds: float, max_bytes: int) -> dict[str, Any]:
        """The reply to the last task, with at most `max_bytes` of arrays.

        Raises:
            TimeoutError: no complete reply came within `seconds`.
            EOFError: the child has ended.
            InvalidMessage: the reply is not valid.
        """
        deadline = time.monotonic() + seconds
        length = bytearray(LENGTH.size)
        self._fill(memoryview(length), deadline)
        (size,) = LENGTH.unpack(length)
        if not 2 <= size <= MAX_HEADER_BYTES:
            raise InvalidMessage("a header of an impossible length")
        header = bytearray(size)
        self._fill(memoryview(header), deadline)
        reply = parse_header(bytes(header))
        if reply.get("number") != self._number:
            raise InvalidMessage("a reply to another task")
        filled: dict[str, Any] = unpack(reply, lambda view: self._fill(view, deadline), max_bytes)
        return filled

    def end(self) -> None:
        """Kill the process. The thread that waits for its reply does the rest."""
        with self._lock:
            if self._status is None:
                os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> int:
        """End the process if it still runs, and return its exit status (negative for a signal)."""
        return self._kill_and_wait(is_gone=False)

    def classify_end(self) -> Exception:
        """The error for a child that closed its socket: InputRejected, or EndedFromOutside by another process."""
        status = self._kill_and_wait(is_gone=True)
        _log.warning("A decoding process ended with status %d.", status)
        if -status in (signal.SIGXCPU, signal.SIGALRM):
            return InputRejected(
                "decode-timeout", "Decoding takes too long. Export the image again, or export it uncompressed."
            )
        if -status in _FROM_OUTSIDE:
            return EndedFromOutside(self._largest_memory - self._memory_at_start)
        return InputRejected("decode-crashed", "Decoding broke off. Export the image again, or export it uncompressed.")

    def _kill_and_wait(self, *, is_gone: bool) -> int:
        """Wait for the end and return the exit status; kill first, unless the process is ending by itself."""
        with self._lock:
            if self._status is None:
                # Popen.poll() is not used here: it would consume the exit status.
                if not is_gone or not self._ends_by_itself():
                    os.kill(self.pid, signal.SIGKILL)
                self._status = self._process.wait()
                self._socket.close()
            return self._status

    def _ends_by_itself(self) -> bool:
        """Whether a child that closed its socket ends by itself within 2 seconds; a hostile one may not."""
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
            time.sleep(0.005)
        return False

    def _fill(self, view: memoryview, deadline: float) -> None:
        while view:
            while not self._has_data(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic()))):
                self._largest_memory = max(self._largest_memory, self._memory_now())
                if time.monotonic() >= deadline:
                    raise TimeoutError
            try:
                count = self._socket.recv_into(view)
            except ConnectionError:
                count = 0
            if not count:
                raise EOFError
            view = view[count:]

    def _memory_now(self) -> int:
        """Resident memory of the process in bytes; 0 on a system without ``/proc``.

        ``getrusage`` for a child that has ended is of no use, because it includes the memory of the parent.
        """
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def _has_data(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(seconds * 1000))


def _arguments(limits: Limits, descriptor: int) -> list[str]:
    numbers = (descriptor, limits.memory_bytes, limits.cpu_seconds, max(1, round(limits.wall_seconds)), OPEN_FILES)
    return [*map(str, numbers), *limits.modules]


def _environment() -> dict[str, str]:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    # An empty entry of sys.path means the working directory, which the child does not search.
    entries = [str(Path(__file__).resolve().parents[2]), *(entry for entry in sys.path if entry)]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(entries))
    # One thread each: several children run in parallel, and the stacks of a thread pool count as address space.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # Without these, glibc returns the memory of each array to the kernel, which must clear it again for the next one.
    return environment | {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}


@functools.lru_cache(maxsize=8)
def _log_once(missing: tuple[str, ...]) -> None:
    for sentence in missing:
        _log.warning("Decoding processes have fewer protections than they should. %s", sentence)
