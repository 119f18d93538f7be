"""A server that hangs: it takes connections and answers nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def hanging(process: psutil.Process | None) -> Iterator[None]:
    assert process is not None
    stopped = [process, *process.children(recursive=True)]
    for each in stopped:
        each.suspend()
    try:
        yield
    finally:
        for each in stopped:
            each.resume()
