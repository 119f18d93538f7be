"""The progress of a run as lines of JSON: the chief appends, other processes follow. Imports no torch."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FILE = "progress.jsonl"
_POLL_SECONDS = 0.2


def append(path: Path, event: str, **fields: Any) -> dict[str, Any]:
    """Append one event with its time and flush it; values that are not finite become null."""
    line = _finite({"event": event, "time": time.time(), **fields})
    text = json.dumps(line, allow_nan=False) + "\n"
    with path.open("ab+") as stream:
        # A chief that was killed in the middle of a line must not spoil the next one.
        if stream.seek(0, os.SEEK_END) and _last_byte(stream) != b"\n":
            text = "\n" + text
        stream.write(text.encode())
        stream.flush()
    return dict(line)


def read(path: Path) -> list[dict[str, Any]]:
    """All whole events so far; an empty list before the first one."""
    if not path.is_file():
        return []
    return [event for event in map(_parsed, path.read_bytes().split(b"\n")) if event]


def follow(path: Path, finished: Callable[[], bool], offset: int = 0) -> Iterator[dict[str, Any]]:
    """Yield events as they come, from byte `offset` on (the size of the file before a run that resumes).

    Ends once `finished` is true and everything written was yielded.
    """
    rest = b""
    while True:
        over = finished()
        if path.is_file() and path.stat().st_size < offset:
            # A fresh start has emptied the file.
            offset, rest = 0, b""
        chunk = _from(path, offset)
        offset += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(None, map(_parsed, lines))
        if over and not chunk:
            return
        if not chunk:
            time.sleep(_POLL_SECONDS)


def _from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read()
    except FileNotFoundError:
        return b""


def _last_byte(stream: Any) -> bytes:
    stream.seek(-1, os.SEEK_END)
    return bytes(stream.read(1))


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "event" in value else None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
