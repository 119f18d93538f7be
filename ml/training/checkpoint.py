"""Checkpoints that survive a crash at any moment: written aside, synced, renamed, and verified when read."""

import hashlib
import io
import re
from pathlib import Path
from typing import Any

import torch

from ml.artifact import write_atomically

KEEP = 3
_NAME = re.compile(r"epoch-(\d{5})\.pt")


class Checkpoints:
    """Checkpoints of one run in one folder; the newest intact one is resumed."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self.directory = directory
        self.fingerprint = fingerprint

    def save(self, epoch: int, state: dict[str, Any]) -> Path:
        """Write the state after `epoch` epochs; keeps the last few files."""
        self.directory.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "epoch": epoch, "state": state}, buffer)
        content = buffer.getvalue()
        path = self.directory / f"epoch-{epoch:05d}.pt"
        write_atomically(path, content + hashlib.sha256(content).digest())
        for old in self._files()[:-KEEP]:
            old.unlink(missing_ok=True)
        return path

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """(epochs done, state) of the newest checkpoint that is whole; None if there is none.

        Raises ValueError if it belongs to a run with other settings.
        """
        for path in reversed(self._files()):
            content = path.read_bytes()
            body, digest = content[:-32], content[-32:]
            if hashlib.sha256(body).digest() != digest:
                continue
            value = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
            if value["fingerprint"] != self.fingerprint:
                raise ValueError(
                    f"{path.name} was written with other settings. Resume with the same ones, or start "
                    "afresh in another output folder."
                )
            return int(value["epoch"]), value["state"]
        return None

    def _files(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return sorted(p for p in self.directory.iterdir() if _NAME.fullmatch(p.name))
