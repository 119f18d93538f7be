"""Run an evaluation in a separate process, whose end frees the memory of torch or ONNX Runtime."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

REFUSED = 3
"""Exit status where this version must not or cannot be evaluated on these images, so that a retry does not help."""

_ROOT = Path(__file__).resolve().parents[2]


def start_evaluation(
    artifact_dir: Path, data: Path, split: Path | None, out: Path, cache_dir: Path, device: str, log: IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Start `python -m ml.evaluation`, which writes its figures to `out` and its messages to the open file `log`.

    The process leads a process group. It ends when its standard input closes, so it does not outlive its parent.
    """
    where = ["--artifact", str(artifact_dir), "--data", str(data), "--cache", str(cache_dir), "--json", str(out)]
    listed = ["--split", str(split)] if split else []
    return subprocess.Popen(
        [sys.executable, "-m", "ml.evaluation", *where, *listed, "--device", device, "--while-stdin-is-open"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,
    )


def end_with_stdin() -> None:
    """Start a thread that kills this process and its children when standard input closes."""

    def watch() -> None:
        # os.read and not sys.stdin, whose lock would block the shutdown of the interpreter.
        os.read(0, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-stdin", daemon=True).start()
