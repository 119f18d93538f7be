"""A pool of limited child processes that decode files from unknown sources; a crash costs one refused file.

A child gets its input as an open file and can open nothing itself (`ml.sandbox.confinement`). Its answer is a bounded
header and plain arrays (`ml.sandbox.wire`). The parent checks them before it uses them, because a child that a file
has taken over may send anything.
"""

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ml.errors import CODES, InputRejected
from ml.sandbox.process import Child, EndedFromOutside, Limits
from ml.sandbox.wire import CONTRACTS, MAX_MESSAGE_BYTES, InvalidMessage

DEFAULT_MODULES = (
    "ml.model.serving_input",
    "ml.dicom.pixel_digest",
    "ml.dicom.same_instance",
    "ml.dicom.secondary_capture",
    "ml.dicom.preflight",
    "ml.dicom.dicom_json",
    "ml.dicom.explicit_le",
    "ml.dicom.rendered",
)
_LONGEST_TEXT = 400
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Writable:
    """An argument of `Sandbox.submit`: this file is created or emptied, and the child gets it open for writing."""

    path: Path


@dataclass(frozen=True, eq=False)
class _Task:
    future: "Future[Any]"
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Sandbox:
    """`workers` children, started when first needed and replaced when they die.

    Safe to use from several threads. After a fork, the new process starts its own children.

    Args:
        workers: number of children, at least 1.
        memory_bytes: limit of a child's address space, on platforms that support it.
        cpu_seconds: CPU time of one task.
        wall_seconds: wall time of one task.
        modules: modules whose functions the children can run, beside DEFAULT_MODULES. A child imports them at its
            start and nothing later.
    """

    def __init__(
        self,
        workers: int,
        memory_bytes: int = 1 << 30,
        cpu_seconds: int = 20,
        wall_seconds: float = 30,
        modules: Sequence[str] = (),
    ) -> None:
        if workers < 1:
            raise ValueError("a sandbox needs at least one worker")
        self._limits = Limits(memory_bytes, cpu_seconds, wall_seconds, (*DEFAULT_MODULES, *modules))
        self._count = workers
        self._lock = threading.Lock()
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._idle = threading.Semaphore(0)
        self._task_lock = _SharedExclusiveLock()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Run a module-level function in a child.

        Where a child was ended by another process, its task runs once more while no other task runs.

        Args:
            function: a function of one of the `modules`.
            arguments: plain values, arrays and byte strings. A `Path`, an open file or a `Writable` arrives in the
                child as an open file.

        Returns:
            A future with the reply as the function's contract accepts it (`ml.sandbox.wire.contract`), or as it is
            where the function has none. Every failure in the child becomes InputRejected; with a code in
            `ml.errors.RETRYABLE` the machine is the cause and not the file.

        Raises:
            RuntimeError: the sandbox is closed.
        """
        task = _Task(Future(), function, arguments)
        with self._lock:
            if self._closed:
                raise RuntimeError("the sandbox is closed")
            if self._pid != os.getpid():
                self._reset()
            # Queue the task before starting a worker: a worker that finds no task counts itself as idle.
            self._tasks.put(task)
            if not self._idle.acquire(blocking=False) and len(self._workers) < self._count:
                self._workers.append(_Worker(self._tasks, self._idle, self._task_lock, self._limits))
        return task.future

    def close(self) -> None:
        """End all children now. Running tasks are refused, waiting ones cancelled. Further calls do nothing."""
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
                task.future.cancel()
        for worker in self._workers:
            worker.stop()
        for _ in self._workers:
            self._tasks.put(None)
        for worker in self._workers:
            worker.thread.join()

    def pids(self) -> list[int]:
        """Process ids of the running children."""
        children = [worker.child for worker in self._workers]
        return [child.pid for child in children if child is not None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _SharedExclusiveLock:
    """Lets tasks run in parallel, or one task while no other runs."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._is_alone = False

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone)
            self._is_alone = True
            self._changed.wait_for(lambda: not self._running)
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()


class _Worker:
    """A thread of the parent that gives tasks to one child."""

    def __init__(
        self,
        tasks: "queue.SimpleQueue[_Task | None]",
        idle: threading.Semaphore,
        task_lock: _SharedExclusiveLock,
        limits: Limits,
    ) -> None:
        self.child: Child | None = None
        self._tasks, self._idle, self._task_lock, self._limits = tasks, idle, task_lock, limits
        self._stopping = False
        self.thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self._stopping = True
        if (child := self.child) is not None:
            child.end()

    def _run(self) -> None:
        while (task := self._next_task()) is not None:
            if task.future.set_running_or_notify_cancel():
                try:
                    task.future.set_result(self._result(task))
                except InputRejected as refusal:
                    task.future.set_exception(refusal)
                except BaseException as error:
                    _log.exception("The sandbox itself failed.")
                    self._drop()
                    detail = f"No valid answer ({type(error).__name__})."
                    task.future.set_exception(InputRejected("decode-failed", detail))
        self._drop()

    def _next_task(self) -> _Task | None:
        try:
            return self._tasks.get_nowait()
        except queue.Empty:
            self._idle.release()
            return self._tasks.get()

    def _result(self, task: _Task) -> Any:
        try:
            with self._task_lock.shared():
                return self._answer(task)
        except EndedFromOutside:
            # The kernel may have ended it for lack of memory that another task used. The second attempt runs without
            # other tasks, so it shows whether this file needs too much.
            pass
        try:
            with self._task_lock.exclusive():
                return self._answer(task)
        except EndedFromOutside as end:
            if end.grown_bytes >= self._limits.memory_bytes // 4:
                raise InputRejected(
                    "decode-memory", "Decoding needs more memory than this machine has. Export the image again."
                ) from end
            raise InputRejected("decoder-ended", "The decoding process was ended from outside. Try again.") from end

    def _answer(self, task: _Task) -> Any:
        contract = CONTRACTS.get(task.function)
        with contextlib.ExitStack() as files:
            arguments = [_open_files(argument, files) for argument in task.arguments]
            try:
                limit = contract.max_bytes(*arguments) if contract else MAX_MESSAGE_BYTES
                child = self._send(task.function, arguments)
                reply = child.receive(self._limits.wall_seconds, limit)
                if reply.get("outcome") == "done":
                    return contract.accept(reply.get("value"), *arguments) if contract else reply.get("value")
                raise self._refusal(reply)
            except TimeoutError:
                self._drop()
                raise InputRejected(
                    "decode-timeout", "Decoding takes too long. Export the image again, or export it uncompressed."
                ) from None
            except (InvalidMessage, ValueError, TypeError, KeyError) as error:
                _log.warning("A decoding process sent an invalid reply (%s).", type(error).__name__)
                self._drop()
                raise InputRejected(
                    "decode-reply-invalid",
                    "Decoding gave no valid answer. Export the image again, or export it uncompressed.",
                ) from error
            except EOFError:
                raise self._error_of_ended_child() from None

    def _refusal(self, reply: dict[str, Any]) -> InputRejected:
        code, detail, where = (reply.get(name) for name in ("code", "detail", "where"))
        if code not in CODES or not all(isinstance(each, str) and each.isprintable() for each in (detail, where)):
            raise InvalidMessage("an invalid refusal")
        if where:
            _log.warning("A task was refused with %s: %s", code, str(where)[:_LONGEST_TEXT])
        if code == "decode-memory":
            self._drop()
        return InputRejected(str(code), str(detail)[:_LONGEST_TEXT])

    def _send(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Child:
        """Send the task to the child; a child that ended while it was idle is replaced once."""
        for _ in range(2):
            if self.child is None:
                self.child = Child(self._limits)
            if self._stopping:
                raise _stopping()
            try:
                self.child.send(function, arguments)
                return self.child
            except OSError:
                self._drop()
        raise InputRejected("sandbox-unavailable", "No decoding process takes the task. Try again.")

    def _error_of_ended_child(self) -> Exception:
        child, self.child = self.child, None
        if child is None or self._stopping:
            if child is not None:
                child.reap()
            return _stopping()
        return child.classify_end()

    def _drop(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.reap()


def _open_files(argument: Any, files: contextlib.ExitStack) -> Any:
    try:
        if isinstance(argument, Writable):
            return files.enter_context(argument.path.open("wb"))
        if isinstance(argument, Path):
            return files.enter_context(argument.open("rb"))
    except OSError as error:
        detail = f"The stored file could not be opened ({type(error).__name__})."
        raise InputRejected("source-unreadable", detail) from error
    if isinstance(argument, list | tuple):
        return [_open_files(each, files) for each in argument]
    return argument


def _stopping() -> InputRejected:
    return InputRejected("sandbox-unavailable", "The service is stopping. Try again.")
