"""Progress events, as the chief of a training writes them."""

from typing import Any


def start(resumed: int = 0, restart: int = 0, at: float = 1_790_000_000.0) -> dict[str, Any]:
    return {
        "event": "start", "time": at, "world_size": 3, "nodes": 3, "backend": "gloo", "device": "cpu",
        "architecture": "densenet121", "epochs": 4, "steps_per_epoch": 10, "global_batch": 64, "train_films": 640,
        "validation_films": 90, "resumed_epoch": resumed, "restart": restart, "forecast": None,
    }  # fmt: skip


def step(epoch: int, number: int, loss: float | None = 0.2) -> dict[str, Any]:
    return {
        "event": "step", "time": 1_790_000_001.0, "epoch": epoch, "step": number, "steps": 10, "loss": loss,
        "lr": 1e-4, "images_per_s": 32.0, "data_wait": 0.01,
    }  # fmt: skip


def epoch(number: int, auroc: float | None = 0.7) -> dict[str, Any]:
    return {
        "event": "epoch", "time": 1_790_000_010.0 + number, "epoch": number, "loss": 1.0 / number,
        "validation_auroc": auroc, "lr": 1e-4, "images_per_s": 64.0, "seconds": 10.0, "data_wait": 0.02,
        "ranks": [{"rank": rank, "p50": 0.5 + rank / 10, "p95": 0.9} for rank in range(3)],
    }  # fmt: skip


def artifact(selected: int) -> dict[str, Any]:
    return {
        "event": "artifact", "time": 1_790_000_050.0, "sha256": "a" * 64, "selected_epoch": selected,
        "validation_auroc": 0.73,
    }  # fmt: skip
