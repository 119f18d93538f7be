"""Measure what two settings of wake-up messages save: no message where one waits, and connections that stay open.

    python -m benchmarks.wake_ups [--films 100] [--messages 300] [--rounds 2]

A superfluous message is sent to an idle worker, and its CPU time in all processes is read; the share of the messages
that are left out is read in a flow of images. Then images are read one at a time by a worker that keeps its database
connections from message to message, and by one that Celery lets close them (`benchmarks.without_reuse`), in turns.
Prints CPU-ms, and what each saves as a share of one film's cost without the forward pass. It stays while that is at
least 5 % (`docs/adr/0002-rows-as-the-queue.md`).
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks.pipeline import complete_jobs, store, wait_for_jobs
from benchmarks.sql_functions import film_cost
from benchmarks.stack import Stack, running_stack, spawn

KEPT, CLOSED = "config.settings.embedded", "benchmarks.without_reuse"
_SINGLE_FILMS = 30
_REST_SECONDS = 0.2


def cpu_ms(stack: Stack, work: Callable[[], object]) -> float:
    """CPU-ms of all processes of the stack during some work."""
    before = sum(stack.cpu_seconds().values())
    work()
    time.sleep(_REST_SECONDS)
    return 1000 * (sum(stack.cpu_seconds().values()) - before)


def messages_sent() -> tuple[int, int]:
    """How often senders asked the broker whether a message waits, and how many messages were sent."""
    from config.embedded import valkey

    client = valkey.client()
    calls: Any = client.info("commandstats")
    client.close()
    return tuple(calls.get(f"cmdstat_{command}", {}).get("calls", 0) for command in ("llen", "lpush"))


def superfluous_messages(stack: Stack, count: int) -> None:
    """Send messages although no job waits, and wait until the worker has taken them."""
    from apps.core.wake_up import WakeUp, broker

    with broker.connection_for_write() as connection:
        for _ in range(count):
            broker.send_task(WakeUp.INFER.value, connection=connection)
        while connection.default_channel.client.llen("inference"):
            time.sleep(0.01)


def single_films(stack: Stack) -> float:
    """CPU-ms of one film, where each comes after the former was read."""

    def one_by_one() -> None:
        for number in range(_SINGLE_FILMS):
            before = complete_jobs()
            store(stack, 1, f"single{number}-{time.time()}")
            wait_for_jobs(before + 1)

    return cpu_ms(stack, one_by_one) / _SINGLE_FILMS


def measure_messages(stack: Stack, films: int, count: int) -> None:
    asked, sent = messages_sent()
    film = film_cost(stack, films)
    asked, sent = (after - before for after, before in zip(messages_sent(), (asked, sent), strict=True))
    here = time.process_time()
    there = cpu_ms(stack, lambda: superfluous_messages(stack, count))
    message = (there + 1000 * (time.process_time() - here)) / count
    saved = message * (1 - sent / asked)
    print(f"messages in a flow          {sent} sent, {asked - sent} left out; {message:.2f} CPU-ms each: {saved:.2f} a "
          f"film, {saved / film:.1%}; where no worker takes them, {message / film:.1%}")  # fmt: skip


@contextmanager
def worker(stack: Stack, settings: str) -> Iterator[None]:
    """A worker with these settings, which has read its first images."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": settings}
    process = spawn("worker", stack.home / "worker.log", environment)
    stack.processes["worker"] = psutil.Process(process.pid)
    try:
        before = complete_jobs()
        store(stack, 16, f"warm{time.time()}")
        wait_for_jobs(before + 16)
        yield
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    singles: dict[str, list[float]] = {KEPT: [], CLOSED: []}
    with running_stack(("web", "dispatcher")) as stack:
        import django

        django.setup()
        for number in range(options.rounds):
            for settings in (KEPT, CLOSED):
                with worker(stack, settings):
                    if number == 0 and settings == KEPT:
                        measure_messages(stack, options.films, options.messages)
                    singles[settings].append(single_films(stack))
    kept, closed = statistics.median(singles[KEPT]), statistics.median(singles[CLOSED])
    print(f"one film at a time          {kept:.1f} CPU-ms with connections that stay open, {closed:.1f} where Celery "
          f"closes them: {(closed - kept) / kept:.1%} saved")  # fmt: skip


if __name__ == "__main__":
    main()
