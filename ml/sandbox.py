"""Ring 3 of the defence: hostile bytes are decoded in limited child processes, whose death is one refused file.

No child shares memory with the parent, sees its secrets (the environment is cut down) or returns anything but plain
data: replies are unpickled through an allow-list, because a child that a file has taken over may answer what it likes.
"""

import io
import logging
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Self

from ml.errors import InputRejected
from ml.sandbox_child import HEADER

MAX_REPLY_BYTES: Final = 128 << 20
START_SECONDS: Final = 20.0
_OPEN_FILES = 32
_KEPT_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
)
_NUMPY_GLOBALS = frozenset(
    {
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
    }
)
_RESULT_GLOBALS = frozenset(
    {
        ("ml.serving_input", "LoadedInput"),
        ("ml.radiograph", "Radiograph"),
        ("ml.preflight", "Preflight"),
        ("ml.image_warnings", "ImageWarning"),
    }
)
_log = logging.getLogger(__name__)

_Task = tuple["Future[Any]", bytes]


class Sandbox:
    """`workers` children, started when first needed and replaced when they die.

    `memory_bytes` limits the address space of a child (where the platform does), `cpu_seconds` and `wall_seconds` one
    task. Safe to use from several threads; after a fork the new process starts children of its own.
    """

    def __init__(
        self, workers: int, memory_bytes: int = 1 << 30, cpu_seconds: int = 20, wall_seconds: float = 30
    ) -> None:
        if workers < 1:
            raise ValueError("a sandbox needs at least one worker")
        self._limits = (memory_bytes, cpu_seconds, wall_seconds)
        self._count = workers
        self._lock = threading.Lock()
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._idle = threading.Semaphore(0)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Run a module-level function in a child.

        The future gives its result (NumPy arrays, built-in types and the result classes of `ml`) or raises
        InputRejected, whatever happened there; codes in `ml.errors.RETRYABLE` accuse the machine and not the file.
        Raises RuntimeError after `close`.
        """
        data = pickle.dumps((function, arguments), protocol=5)
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the sandbox is closed")
            if self._pid != os.getpid():
                self._reset()
            # First the task: a new worker that found the queue empty would count as idle and then take this very task.
            self._tasks.put((future, data))
            if not self._idle.acquire(blocking=False) and len(self._workers) < self._count:
                self._workers.append(_Worker(self._tasks, self._idle, *self._limits))
        return future

    def close(self) -> None:
        """End all children now; what has not finished is refused or cancelled. May be called again."""
        with self._lock:
            if self._closed or self._pid != os.getpid():
                self._closed = True
                return
            self._closed = True
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            if task is not None:
                task[0].cancel()
        for worker in self._workers:
            worker.stop()
        for _ in self._workers:
            self._tasks.put(None)
        for worker in self._workers:
            worker.thread.join()

    def pids(self) -> list[int]:
        """Process ids of the children that live now."""
        return [worker.child.process.pid for worker in self._workers if worker.child is not None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """One thread of the parent that keeps one child busy."""

    def __init__(
        self,
        tasks: "queue.SimpleQueue[_Task | None]",
        idle: threading.Semaphore,
        memory_bytes: int,
        cpu_seconds: int,
        wall_seconds: float,
    ) -> None:
        self.child: _Child | None = None
        self._tasks, self._idle = tasks, idle
        self._limits = (memory_bytes, cpu_seconds, wall_seconds)
        self._stopping = False
        self.thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self._stopping = True
        if (child := self.child) is not None:
            # Only the process: its pipes belong to the thread that may be reading them.
            child.process.kill()

    def _run(self) -> None:
        while (task := self._next_task()) is not None:
            future, data = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._answer(data))
                except InputRejected as refusal:
                    future.set_exception(refusal)
                except BaseException as error:
                    _log.exception("the sandbox itself failed")
                    self._drop()
                    future.set_exception(InputRejected("decode-failed", f"No valid answer ({type(error).__name__})."))
        self._drop()

    def _next_task(self) -> _Task | None:
        try:
            return self._tasks.get_nowait()
        except queue.Empty:
            self._idle.release()
            return self._tasks.get()

    def _answer(self, data: bytes) -> Any:
        child = self._send(data)
        try:
            reply = child.receive(self._limits[2])
        except TimeoutError:
            self._drop()
            raise InputRejected(
                "decode-timeout", "Decoding takes too long. Export the image anew, or uncompressed."
            ) from None
        except EOFError:
            raise self._post_mortem() from None
        if reply[0] == "done" and len(reply) == 2:
            return reply[1]
        _, code, refused_because, where = reply
        if where:
            _log.warning("task refused with %s: %s", code, where)
        if code == "decode-memory":
            self._drop()
        raise InputRejected(str(code), str(refused_because))

    def _send(self, data: bytes) -> "_Child":
        """Hand the task to the child; one that died while idle (out of memory, operator) is replaced once."""
        for _ in range(2):
            if self.child is None:
                self.child = _Child(*self._limits)
            if self._stopping:
                raise _stopping()
            try:
                self.child.send(data)
                return self.child
            except OSError:
                self._drop()
        raise InputRejected("sandbox-unavailable", "No decoding process takes the task. Try again.")

    def _post_mortem(self) -> InputRejected:
        child, self.child = self.child, None
        status = child.kill() if child is not None else 0
        _log.warning("a decoding process ended with status %d", status)
        if self._stopping or -status in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            return _stopping()
        # These two are the child's own limits.
        if -status in (signal.SIGXCPU, signal.SIGALRM):
            return InputRejected("decode-timeout", "Decoding takes too long. Export the image anew, or uncompressed.")
        return InputRejected("decode-crashed", "Decoding broke off. Export the image anew, or uncompressed.")

    def _drop(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill()


class _Child:
    """The process and its two pipes."""

    def __init__(self, memory_bytes: int, cpu_seconds: int, wall_seconds: float) -> None:
        arguments = [str(memory_bytes), str(cpu_seconds), str(max(1, round(wall_seconds))), str(_OPEN_FILES)]
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        # An interpreter that was started without a script finds this package by an empty entry, its working folder.
        entries = [str(Path(__file__).resolve().parents[1]), *(entry for entry in sys.path if entry)]
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(entries))
        # One thread each: the workers are the parallelism, and a thread pool's stacks would eat the address space.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # glibc gives each array of a film back to the kernel, which clears it again page by page, unless told not to.
        environment |= {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ml.sandbox_child", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                # A Ctrl-C for the whole group would else kill a child in its task and so blame the file.
                start_new_session=True,
            )
        except OSError as error:
            raise InputRejected("sandbox-unavailable", "No decoding process can be started. Try again.") from error
        try:
            if self.receive(START_SECONDS)[0] != "ready":
                raise EOFError
        except (EOFError, TimeoutError):
            status = self.kill()
            _log.error("a decoding process did not start (status %d); run: python -m ml.sandbox_child 0 1 1 32", status)
            raise InputRejected("sandbox-unavailable", "No decoding process can be started. Try again.") from None

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(HEADER.pack(len(data)) + data)
        self.process.stdin.flush()

    def receive(self, seconds: float) -> tuple[Any, ...]:
        """The next reply. Raises TimeoutError, or EOFError when the child is gone."""
        deadline = time.monotonic() + seconds
        (size,) = HEADER.unpack(self._read(HEADER.size, deadline))
        if size > MAX_REPLY_BYTES:
            raise EOFError
        reply = _ReplyUnpickler(io.BytesIO(self._read(size, deadline))).load()
        if not isinstance(reply, tuple):
            raise pickle.UnpicklingError("not a reply")
        return reply

    def kill(self) -> int:
        """End it if it still runs, free the pipes, and return its exit status (negative for a signal)."""
        self.process.kill()
        status = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                continue
        return status

    def _read(self, size: int, deadline: float) -> bytes:
        assert self.process.stdout is not None
        descriptor, parts = self.process.stdout.fileno(), bytearray()
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        while len(parts) < size:
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            chunk = os.read(descriptor, min(size - len(parts), 1 << 20))
            if not chunk:
                raise EOFError
            parts += chunk
        return bytes(parts)


def _stopping() -> InputRejected:
    return InputRejected("sandbox-unavailable", "The service is stopping. Try again.")


class _ReplyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY_GLOBALS or (module, name) in _RESULT_GLOBALS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError("a decoding process answered with something that is no data")
