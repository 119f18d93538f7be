"""One child of `ml.sandbox`: how it is started, spoken with and ended, and what its end means."""

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
_LOOK_SECONDS: Final = 0.02
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# Signals by which an operator, a supervisor or the kernel (out of memory) ends a process. Its own limits end it by
# others, and its system call filter keeps it from sending itself SIGKILL.
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Of a child: its address space, and of one task the CPU and wall time. `modules` are imported at its start."""

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    modules: tuple[str, ...]


class EndedFromOutside(Exception):
    """A child was ended by someone else than its own limits. `grown_bytes` is the most memory that it held,
    beyond what it held before its first task."""

    def __init__(self, grown_bytes: int) -> None:
        super().__init__(grown_bytes)
        self.grown_bytes = grown_bytes


class Child:
    """The process and its socket. Raises InputRejected where it can't be started."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Drawn anew for each task, so that no answer can be sent before its task.
        self._number = 0
        self._held_at_start = 0
        self._held_most = 0
        self._lock = threading.Lock()
        self._end: int | None = None
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                # A group of its own: a Ctrl-C for the whole group would else end a child in its task.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "ml.sandbox.child", *_arguments(limits, theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    pass_fds=(theirs.fileno(),),
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
            _log.error("a decoding process did not start (status %d); run: python -m ml.sandbox.child", status)
            raise InputRejected("sandbox-unavailable", "No decoding process can be started. Try again.") from None
        self._held_at_start = self._held_most = self._held_now()
        _say_once(tuple(str(each) for each in ready.get("missing", ())))

    def send(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        """Send a task. Raises OSError where the child is gone, or has spoken without being asked."""
        if self._readable(0):
            raise OSError("a decoding process speaks without being asked, or is gone")
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

    def receive(self, seconds: float, most_bytes: int) -> dict[str, Any]:
        """The answer to the last task, with at most `most_bytes` of arrays.

        Raises TimeoutError, EOFError when the child is gone, InvalidMessage.
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
            raise InvalidMessage("an answer to another task")
        filled: dict[str, Any] = unpack(reply, lambda view: self._fill(view, deadline), most_bytes)
        return filled

    def end(self) -> None:
        """Kill the process and leave the rest to the thread that waits for its answer."""
        with self._lock:
            if self._end is None:
                os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> int:
        """End it if it still runs, and return its exit status (negative for a signal)."""
        return self._buried(is_gone=False)

    def cause_of_death(self) -> Exception:
        """What the end of a child, which closed its socket, says of the file: EndedFromOutside or InputRejected."""
        status = self._buried(is_gone=True)
        _log.warning("a decoding process ended with status %d", status)
        if -status in (signal.SIGXCPU, signal.SIGALRM):
            return InputRejected("decode-timeout", "Decoding takes too long. Export the image anew, or uncompressed.")
        if -status in _FROM_OUTSIDE:
            return EndedFromOutside(self._held_most - self._held_at_start)
        return InputRejected("decode-crashed", "Decoding broke off. Export the image anew, or uncompressed.")

    def _buried(self, *, is_gone: bool) -> int:
        """The exit status."""
        with self._lock:
            if self._end is None:
                # Without a look by subprocess, which would take the status away.
                if not is_gone or not self._exits():
                    os.kill(self.pid, signal.SIGKILL)
                self._end = self._process.wait()
                self._socket.close()
            return self._end

    def _exits(self) -> bool:
        """Whether a child that closed its socket ends by itself within a moment; a hostile one may live on."""
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
            time.sleep(0.005)
        return False

    def _fill(self, view: memoryview, deadline: float) -> None:
        while view:
            while not self._readable(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic()))):
                self._held_most = max(self._held_most, self._held_now())
                if time.monotonic() >= deadline:
                    raise TimeoutError
            try:
                count = self._socket.recv_into(view)
            except ConnectionError:
                count = 0
            if not count:
                raise EOFError
            view = view[count:]

    def _held_now(self) -> int:
        """Bytes of memory that the process holds; 0 where the system does not say (it has no ``/proc``).

        What ``getrusage`` says of a child that has ended is of no use: it begins with the memory of its parent.
        """
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def _readable(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(seconds * 1000))


def _arguments(limits: Limits, descriptor: int) -> list[str]:
    numbers = (descriptor, limits.memory_bytes, limits.cpu_seconds, max(1, round(limits.wall_seconds)), OPEN_FILES)
    return [*map(str, numbers), *limits.modules]


def _environment() -> dict[str, str]:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    # An interpreter that was started without a script finds this package by an empty entry, its working folder.
    entries = [str(Path(__file__).resolve().parents[2]), *(entry for entry in sys.path if entry)]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(entries))
    # One thread each: the workers are the parallelism, and a thread pool's stacks would eat the address space.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # glibc gives each array of an image back to the kernel, which clears it again page by page, unless these are set.
    return environment | {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}


@functools.lru_cache(maxsize=8)
def _say_once(missing: tuple[str, ...]) -> None:
    for sentence in missing:
        _log.warning("Decoding is less confined than it should be. %s", sentence)
