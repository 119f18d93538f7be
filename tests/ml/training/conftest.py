"""A data folder that is made once, and the command line of a training that a test may kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ml.training import progress
from tests.conftest import PROJECT_ROOT
from tests.ml.training import layout

OPTIONS = ("--arch", "test_efficientnet", "--input-size", "64", "--batch-size", "16", "--lr", "0.03", "--device", "cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads of a tiny network wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layout.make(tmp_path_factory.mktemp("images") / "data")


class Command:
    """`python -m ml.training` in the background, its progress, and the processes that it started."""

    def __init__(self, data: Path, out: Path, *options: str, prefix: tuple[str, ...] = ()) -> None:
        self.out = out
        self.path = out / progress.FILE
        self.output = out.with_suffix(".output")
        command = [*prefix, sys.executable, "-m", "ml.training", "--data", str(data), "--out", str(out), *OPTIONS]
        with self.output.open("ab") as stream:
            self.process = subprocess.Popen(
                [*command, *options],
                cwd=PROJECT_ROOT,
                # Several launchers on one machine do not know of each other's threads.
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in progress.read(self.path) if event["event"] == name]

    def text(self) -> str:
        return self.output.read_text()

    def until(self, condition: Callable[[], Any], seconds: float = 240) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                pytest.fail(f"It ended early: {self.text()}")
            if time.monotonic() > limit:
                pytest.fail(f"Not within {seconds} s: {self.text()} {progress.read(self.path)[-3:]}")
            time.sleep(0.05)

    def ended(self, seconds: float = 240) -> int:
        return self.process.wait(seconds)

    def curve(self) -> dict[int, tuple[float, float | None]]:
        """Loss and score of each epoch, as it was reported last."""
        return {line["epoch"]: (line["loss"], line["validation_auroc"]) for line in self.events("epoch")}

    def agents(self) -> list[int]:
        """The processes of this run's elastic agents; their ranks end with them."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if {"ml.training.agent", str(self.out / "run.json")} <= set(arguments):
                found.append(int(folder.name))
        return sorted(found)

    def kill_everything(self) -> None:
        for pid in [self.process.pid, *self.agents()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(60)


@pytest.fixture
def command(data_folder: Path, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def start(*options: str, out: str = "out", data: Path = data_folder, prefix: tuple[str, ...] = ()) -> Command:
        started.append(Command(data, tmp_path / out, *options, prefix=prefix))
        return started[-1]

    yield start
    for each in started:
        each.kill_everything()
