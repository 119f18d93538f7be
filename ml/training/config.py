"""Settings of one training, and the recipes. Imports no torch: commands and the launcher read it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ml.model.transforms import IMAGENET_MEAN, IMAGENET_STD, InputSpace

IMAGENET = "imagenet"
"""As `init_weights`: published weights, of torchvision or of a timm tag, downloaded where the network allows it."""

RANDOM = "random"
"""As the option `--init-weights`: random weights."""

SPLITS = ("official", "files")
LOSSES = ("bce", "asymmetric")
SWITCH = ("auto", "on", "off")
SPLIT_SEED = 0
"""Chooses the validation patients. Not the recipe's seed: networks of several seeds are averaged, and what one was
fitted on must not be what another one is selected by."""
_OF_ONE_NODE = ("data", "out", "cache", "init_weights", "name", "device", "checkpoint_minutes")


@dataclass(frozen=True)
class Augmentation:
    """Ranges; the defaults are those of the DenseNet121 recipes on ChestX-ray14 (crop, flip, small rotation).

    `min_area` is the least share of the image in a crop, `aspect` how far its width and height may differ (0.11: a
    ratio within 0.9 and 1.11). `operations` of RandAugment follow (`ml.training.randaugment`), each for every second
    image, of `magnitude` within 0 and 10.
    """

    min_area: float = 0.6
    aspect: float = 0.0
    degrees: float = 10.0
    flip: float = 0.5
    gamma: float = 0.25
    contrast: float = 0.2
    brightness: float = 0.1
    operations: int = 0
    magnitude: float = 6.0


@dataclass(frozen=True)
class Recipe:
    """How weights are fitted. `batch_size` is global, whatever the number of ranks.

    `lr` is for a batch of 256 and scales with the batch (Goyal et al. 2017). `ema_films` is the memory of the averaged
    weights in images: after that many, an old weight counts 1/e; 0 keeps no average. `train_size` is the side of the
    augmented crop, `crop_from` that of the images that it is cut from (0: the network's input size). `frozen` names
    parameter prefixes that stay as they are; `frozen_statistics` keeps batch-norm statistics, the right choice for few
    images.

    `ema_share` above 0 takes the place of `ema_films`: the memory as a share of all steps of the run. `layer_decay`
    multiplies the learning rate of each layer below the head once more (Bao et al. 2022; 1: all learn alike).
    `drop_path` leaves out residual branches (Huang et al. 2016). `mixup` is the alpha of the shares in which two images
    are mixed (Zhang et al. 2018; 0: none). `loss` is "bce", or "asymmetric" (Ridnik et al. 2021).
    """

    epochs: int = 75
    batch_size: int = 256
    lr: float = 2.5e-4
    min_lr: float = 1e-5
    weight_decay: float = 0.05
    warmup: float = 5 / 75
    ema_films: int = 256_000
    ema_share: float = 0.0
    clip: float = 1.0
    layer_decay: float = 1.0
    drop_path: float = 0.0
    mixup: float = 0.0
    loss: str = LOSSES[0]
    train_size: int = 224
    crop_from: int = 0
    frozen: tuple[str, ...] = ()
    frozen_statistics: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.train_size < 32:
            raise ValueError("epochs and batch_size must be at least 1, train_size at least 32.")
        if self.crop_from and not 32 <= self.crop_from <= 2048:
            raise ValueError("crop_from must be 0, or within 32 and 2048 pixels.")
        if not (0 < self.lr < 10 and 0 <= self.warmup < 1 and self.ema_films >= 0 and self.seed >= 0):
            raise ValueError("lr must be within (0, 10), warmup within [0, 1), ema_films and seed not negative.")
        if not (0 <= self.ema_share <= 1 and 0 < self.layer_decay <= 1 and 0 <= self.drop_path < 1 and self.mixup >= 0):
            raise ValueError("ema_share, layer_decay and drop_path must be within 0 and 1, mixup not negative.")
        if self.loss not in LOSSES:
            raise ValueError(f"loss is one of {', '.join(LOSSES)}.")

    @property
    def scaled_lr(self) -> float:
        """Learning rate at this batch size."""
        return self.lr * self.batch_size / 256

    def ema_decay(self, steps: int) -> float:
        """What a step leaves of the averaged weights, in a run of that many steps."""
        memory = self.ema_share * steps or self.ema_films / self.batch_size
        return math.exp(-1 / memory) if memory else 0.0


@dataclass(frozen=True)
class Preset:
    """A recipe together with the input size that it is made for."""

    recipe: Recipe
    input_size: int


_CROPS = Augmentation(min_area=0.5, aspect=0.11)
_STRONG = replace(_CROPS, degrees=0.0, gamma=0.0, contrast=0.0, brightness=0.0, operations=2)
_VIT = Recipe(batch_size=1024, layer_decay=0.55, drop_path=0.2, ema_share=0.02, crop_from=256, augmentation=_STRONG)

RECIPES: Mapping[str, Preset] = {
    "r1": Preset(Recipe(crop_from=256, augmentation=_CROPS), 224),
    # Continues from an artifact of r1 (--init-weights DIR): resolution is worth more than a longer schedule.
    "r2": Preset(
        Recipe(
            epochs=10,
            batch_size=96,
            lr=5e-5,
            min_lr=1e-6,
            warmup=0.1,
            train_size=512,
            crop_from=576,
            augmentation=_CROPS,
        ),
        512,
    ),
    "fast": Preset(Recipe(epochs=30, warmup=0.1, crop_from=256, augmentation=_CROPS), 224),
    # As Xiao et al. 2023 fine-tune vit_small_patch16_224 and vit_base_patch16_224 from their MAE weights.
    "vit": Preset(_VIT, 224),
    # As EVA-X (Yao et al. 2024) fine-tunes eva_x_base_patch16, with a cosine instead of its fixed rate.
    "eva-x": Preset(replace(_VIT, epochs=10, batch_size=512, lr=1e-3, warmup=0.5), 224),
    # For ConvNeXt, ConvNeXt V2 and Swin from ImageNet; of no publication.
    "convnext": Preset(
        Recipe(
            epochs=20,
            batch_size=128,
            lr=2e-4,
            min_lr=1e-6,
            warmup=0.1,
            layer_decay=0.7,
            drop_path=0.2,
            ema_share=0.05,
            train_size=512,
            crop_from=576,
            augmentation=_STRONG,
        ),
        512,
    ),
}


@dataclass(frozen=True)
class TrainingConfig:
    """One run: data folder, output folder, architecture, recipe, and how it is executed.

    `init_weights` is a state dict (.pth, .safetensors), an artifact folder, IMAGENET, or None for random weights.
    `micro_batch` bounds the images of one forward on one rank (0: no bound); gradients are accumulated to the same sum.
    """

    data: Path
    out: Path
    architecture: str = "densenet121"
    name: str = ""
    input_size: int = 224
    init_weights: str | None = None
    split: str = "official"
    validation: float = 0.125
    resume: bool = True
    device: str = "auto"
    deterministic: bool = False
    compile: str = "auto"
    compress: str = "auto"
    micro_batch: int = 0
    cache: Path | None = None
    checkpoint_minutes: float = 10.0
    collective_timeout: float = 300.0
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"--split is one of {', '.join(SPLITS)}.")
        if self.compile not in SWITCH or self.compress not in SWITCH:
            raise ValueError(f"--compile and --compress are one of {', '.join(SWITCH)}.")
        if self.checkpoint_minutes <= 0 or self.collective_timeout <= 0 or self.micro_batch < 0:
            raise ValueError("Times must be positive, --micro-batch not negative.")

    @property
    def space(self) -> InputSpace:
        """Input space of the resulting version."""
        return InputSpace(self.input_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @property
    def crop_space(self) -> InputSpace:
        """The images that training crops are cut from; validation sees what the version will see."""
        return replace(self.space, size=self.recipe.crop_from or self.input_size)

    @property
    def films_cache(self) -> Path:
        """Folder of the decoded images; runs on the same images may share one."""
        return self.cache or self.out / "cache"

    @property
    def version_name(self) -> str:
        """Name of the version, by default after the architecture."""
        return self.name or f"chexnet-{self.architecture}"

    def shared(self) -> dict[str, Any]:
        """What all ranks must have alike, by name: everything but paths, and what only the chief uses."""
        value = {key: each for key, each in asdict(self).items() if key not in _OF_ONE_NODE}
        recipe = value.pop("recipe")
        return {**value, **recipe.pop("augmentation"), **recipe}

    def fingerprint(self) -> str:
        """What must agree between a checkpoint and the run that resumes it."""
        return json.dumps(
            {
                "architecture": self.architecture,
                "input_size": self.input_size,
                "recipe": asdict(self.recipe),
                "split": self.split,
                "validation": self.validation,
                "deterministic": self.deterministic,
            },
            sort_keys=True,
        )

    def describe(self) -> dict[str, Any]:
        """JSON-ready settings without any path of this machine."""
        return {
            "architecture": self.architecture,
            "input_size": self.input_size,
            "split": self.split,
            "split_seed": SPLIT_SEED,
            "validation": self.validation,
            "init_weights": Path(self.init_weights).name if self.init_weights else None,
            "deterministic": self.deterministic,
            "recipe": asdict(self.recipe),
        }

    def to_json(self) -> str:
        """All settings, paths included, as `from_json` reads them."""
        value = {**asdict(self), "data": str(self.data), "out": str(self.out)}
        value["cache"] = str(self.cache) if self.cache else None
        return json.dumps(value, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "TrainingConfig":
        """The inverse of `to_json`. Raises ValueError, naming what is unknown or missing."""
        try:
            value = json.loads(text)
            recipe = dict(value["recipe"])
            augmentation = Augmentation(**recipe["augmentation"])
            recipe = {**recipe, "augmentation": augmentation, "frozen": tuple(recipe["frozen"])}
            paths = {key: Path(value[key]) for key in ("data", "out", "cache") if value[key]}
            return cls(**{**value, **paths, "recipe": Recipe(**recipe)})
        except (KeyError, TypeError) as error:
            raise ValueError(f"These are not the settings of a training of this release: {error}.") from error


def with_recipe(name: str, **changes: Any) -> Preset:
    """A preset with the given fields of its recipe changed; None leaves a field as it is. Raises ValueError.

    Another `train_size` changes `crop_from` in proportion.
    """
    preset = RECIPES.get(name)
    if preset is None:
        raise ValueError(f"No recipe {name!r}. Known: {', '.join(RECIPES)}.")
    wanted = {key: value for key, value in changes.items() if value is not None}
    given = {each.name: wanted[each.name] for each in fields(Recipe) if each.name in wanted}
    ranges = {each.name: wanted[each.name] for each in fields(Augmentation) if each.name in wanted}
    given["augmentation"] = replace(preset.recipe.augmentation, **ranges)
    if "train_size" in given:
        given.setdefault("crop_from", round(preset.recipe.crop_from * given["train_size"] / preset.recipe.train_size))
    return Preset(replace(preset.recipe, **given), preset.input_size)
