"""Ring 3 of the defence: hostile bytes are decoded in limited child processes, whose death is one refused file.

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
from ml.sandbox.wire import CONTRACTS, MAX_REPLY_BYTES, InvalidMessage

DEFAULT_MODULES = (
    "ml.model.serving_input",
    "ml.dicom.pixel_digest",
    "ml.dicom.same_instance",
    "ml.dicom.secondary_capture",
    "ml.dicom.preflight",
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

    `memory_bytes` limits the address space of a child (where the platform does), `cpu_seconds` and `wall_seconds` one
    task. A child can run what `modules` define and what those import, because it imports nothing later. Safe to use
    from several threads; after a fork the new process starts children of its own.
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
        self._turns = _Turns()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Run a module-level function in a child.

        Arguments are plain values, arrays and byte strings; a `Path`, an open file or a `Writable` arrives as an open
        file. The future gives what the function's contract accepts (`ml.sandbox.wire.contract`), without one its plain
        answer, or raises InputRejected, whatever happened there; codes in `ml.errors.RETRYABLE` accuse the machine and
        not the file. A child that was ended from outside has its task run once more, with no other task beside it.
        Raises RuntimeError after `close`.
        """
        task = _Task(Future(), function, arguments)
        with self._lock:
            if self._closed:
                raise RuntimeError("the sandbox is closed")
            if self._pid != os.getpid():
                self._reset()
            # First the task: a new worker that found the queue empty would count as idle and then take this very task.
            self._tasks.put(task)
            if not self._idle.acquire(blocking=False) and len(self._workers) < self._count:
                self._workers.append(_Worker(self._tasks, self._idle, self._turns, self._limits))
        return task.future

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
                task.future.cancel()
        for worker in self._workers:
            worker.stop()
        for _ in self._workers:
            self._tasks.put(None)
        for worker in self._workers:
            worker.thread.join()

    def pids(self) -> list[int]:
        """Process ids of the children that live now."""
        children = [worker.child for worker in self._workers]
        return [child.pid for child in children if child is not None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Turns:
    """Tasks run side by side, except one that runs alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._is_alone = False

    @contextlib.contextmanager
    def beside_others(self) -> Iterator[None]:
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
    def alone(self) -> Iterator[None]:
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
    """One thread of the parent that keeps one child busy."""

    def __init__(
        self,
        tasks: "queue.SimpleQueue[_Task | None]",
        idle: threading.Semaphore,
        turns: _Turns,
        limits: Limits,
    ) -> None:
        self.child: Child | None = None
        self._tasks, self._idle, self._turns, self._limits = tasks, idle, turns, limits
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
                    _log.exception("the sandbox itself failed")
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
            with self._turns.beside_others():
                return self._answer(task)
        except EndedFromOutside:
            # Out of memory perhaps, and then perhaps because of a neighbour: alone it shows whether it is this file.
            pass
        try:
            with self._turns.alone():
                return self._answer(task)
        except EndedFromOutside as end:
            if end.grown_bytes >= self._limits.memory_bytes // 4:
                raise InputRejected(
                    "decode-memory", "Decoding needs more memory than this machine has. Export the image anew."
                ) from end
            raise InputRejected("decoder-ended", "The decoding process was ended from outside. Try again.") from end

    def _answer(self, task: _Task) -> Any:
        contract = CONTRACTS.get(task.function)
        with contextlib.ExitStack() as files:
            arguments = [_opened(argument, files) for argument in task.arguments]
            try:
                most = contract.most_bytes(*arguments) if contract else MAX_REPLY_BYTES
                child = self._send(task.function, arguments)
                reply = child.receive(self._limits.wall_seconds, most)
                if reply.get("outcome") == "done":
                    return contract.accept(reply.get("value"), *arguments) if contract else reply.get("value")
                raise self._refusal(reply)
            except TimeoutError:
                self._drop()
                raise InputRejected(
                    "decode-timeout", "Decoding takes too long. Export the image anew, or uncompressed."
                ) from None
            except (InvalidMessage, ValueError, TypeError, KeyError) as error:
                _log.warning("a decoding process answered with what is no answer (%s)", type(error).__name__)
                self._drop()
                raise InputRejected(
                    "decode-reply-invalid", "Decoding gave no valid answer. Export the image anew, or uncompressed."
                ) from error
            except EOFError:
                raise self._post_mortem() from None

    def _refusal(self, reply: dict[str, Any]) -> InputRejected:
        code, detail, where = (reply.get(name) for name in ("code", "detail", "where"))
        if code not in CODES or not all(isinstance(each, str) and each.isprintable() for each in (detail, where)):
            raise InvalidMessage("a refusal that is none")
        if where:
            _log.warning("task refused with %s: %s", code, str(where)[:_LONGEST_TEXT])
        if code == "decode-memory":
            self._drop()
        return InputRejected(str(code), str(detail)[:_LONGEST_TEXT])

    def _send(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Child:
        """Hand the task to the child; one that died while idle (out of memory, operator) is replaced once."""
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

    def _post_mortem(self) -> Exception:
        child, self.child = self.child, None
        if child is None or self._stopping:
            if child is not None:
                child.reap()
            return _stopping()
        return child.cause_of_death()

    def _drop(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.reap()


def _opened(argument: Any, files: contextlib.ExitStack) -> Any:
    try:
        if isinstance(argument, Writable):
            return files.enter_context(argument.path.open("wb"))
        if isinstance(argument, Path):
            return files.enter_context(argument.open("rb"))
    except OSError as error:
        detail = f"The stored file could not be opened ({type(error).__name__})."
        raise InputRejected("source-unreadable", detail) from error
    if isinstance(argument, list | tuple):
        return [_opened(each, files) for each in argument]
    return argument


def _stopping() -> InputRejected:
    return InputRejected("sandbox-unavailable", "The service is stopping. Try again.")
