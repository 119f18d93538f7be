"""Settings of one training. Defaults are the recipe for ChestX-ray14 at 224 pixels with ImageNet weights."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ml.training.augment import Augmentation
from ml.transforms import IMAGENET_MEAN, IMAGENET_STD, InputSpace


@dataclass(frozen=True)
class Recipe:
    """How weights are fitted. `lr` is for a batch of 256 and scales with the batch (Goyal et al. 2017).

    `train_size` is the side of the augmented crop; `frozen` names parameter prefixes that stay as they are;
    `frozen_statistics` keeps batch-norm statistics, the right choice for few films.
    """

    epochs: int = 30
    batch_size: int = 64
    lr: float = 2.5e-4
    min_lr: float = 1e-5
    weight_decay: float = 0.05
    warmup: float = 0.1
    ema_decay: float = 0.999
    clip: float = 1.0
    train_size: int = 224
    frozen: tuple[str, ...] = ()
    frozen_statistics: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.train_size < 32:
            raise ValueError("epochs and batch_size must be at least 1, train_size at least 32.")
        if not (0 < self.lr < 10 and 0 <= self.ema_decay < 1 and 0 <= self.warmup < 1):
            raise ValueError("lr must be within (0, 10), ema_decay and warmup within [0, 1).")

    @property
    def scaled_lr(self) -> float:
        """Learning rate at this batch size."""
        return self.lr * self.batch_size / 256


@dataclass(frozen=True)
class TrainingConfig:
    """One run: data folder, output folder, architecture, recipe."""

    data: Path
    out: Path
    architecture: str = "densenet121"
    name: str = ""
    input_size: int = 224
    init_weights: Path | None = None
    validation: float = 0.125
    resume: bool = False
    device: str = "auto"
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def space(self) -> InputSpace:
        """Input space of the resulting version."""
        return InputSpace(self.input_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @property
    def version_name(self) -> str:
        """Name of the version, by default after the architecture."""
        return self.name or f"chexnet-{self.architecture}"

    def fingerprint(self) -> str:
        """What must agree between a checkpoint and the run that resumes it."""
        return json.dumps(
            {
                "architecture": self.architecture,
                "input_size": self.input_size,
                "recipe": asdict(self.recipe),
                "validation": self.validation,
            },
            sort_keys=True,
        )

    def describe(self) -> dict[str, Any]:
        """JSON-ready settings without any path of this machine."""
        return {
            "architecture": self.architecture,
            "input_size": self.input_size,
            "validation": self.validation,
            "init_weights": self.init_weights.name if self.init_weights else None,
            "recipe": asdict(self.recipe),
        }
