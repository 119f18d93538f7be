"""Checkpoints that survive a crash at any moment: written aside, synced, renamed, and verified when read."""

import errno
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ml.model.artifact import write_atomically

KEEP = 3
_NAME = re.compile(r"films-(\d{12})\.pt")


class CheckpointFailed(Exception):
    """A checkpoint that could not be written; the one before is intact."""


@dataclass(frozen=True)
class Found:
    """A whole checkpoint: how many images the weights had been fitted on, and its bytes."""

    images_seen: int
    body: bytes


class Checkpoints:
    """Checkpoints of one run in one folder; the newest intact one is resumed."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self.directory = directory
        self.fingerprint = fingerprint

    def save(self, images_seen: int, state: dict[str, Any], best: int | None = None) -> Path:
        """Write the state after `images_seen` images; keeps the last few files and the one at `best` images.

        Raises CheckpointFailed; nothing half-written is left.
        """
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "films_seen": images_seen, "state": state}, buffer)
        content = buffer.getvalue()
        path = self.directory / f"films-{images_seen:012d}.pt"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content + hashlib.sha256(content).digest())
        except OSError as error:
            raise CheckpointFailed(self._why(error, len(content))) from error
        # A process that was killed here leaves its unfinished file. Only the chief writes, so none of them is in use.
        for left in self.directory.glob(".films-*"):
            left.unlink(missing_ok=True)
        for old in self._files()[:-KEEP]:
            if old.name != f"films-{best or -1:012d}.pt":
                old.unlink(missing_ok=True)
        return path

    def _why(self, error: OSError, size: int) -> str:
        remedy = "Make the folder writable"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = f"The disk is full: free at least {KEEP + 1} times {size / 1e6:.0f} MB"
        return (
            f"The checkpoint could not be written to {self.directory}: {error.strerror}. {remedy} and start again; "
            "the checkpoint before is intact."
        )

    def newest(self) -> Found | None:
        """The newest checkpoint that is whole; None if there is none."""
        for path in reversed(self._files()):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            body, digest = content[:-32], content[-32:]
            if hashlib.sha256(body).digest() == digest:
                return Found(int(path.stem.removeprefix("films-")), body)
        return None

    def state(self, body: bytes) -> dict[str, Any]:
        """The state in a checkpoint's bytes. Raises ValueError if it belongs to a run with other settings."""
        value = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        if value["fingerprint"] != self.fingerprint:
            raise ValueError(
                f"The checkpoints in {self.directory} were written with other settings or other films. Resume with "
                "the same ones, or start afresh (--fresh, or another --out)."
            )
        state: dict[str, Any] = value["state"]
        return state

    def _files(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return sorted(p for p in self.directory.iterdir() if _NAME.fullmatch(p.name))
