"""`python -m ml.training --data DIR --arch densenet121 --epochs N --out DIR`: train here, write an artifact."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ml.artifact import ArtifactInvalid
from ml.datasets import DatasetInvalid
from ml.errors import InputRejected
from ml.networks import WeightsInvalid
from ml.training.config import Recipe, TrainingConfig
from ml.training.loop import TrainingDiverged
from ml.training.run import train


def _config(arguments: Sequence[str] | None) -> TrainingConfig:
    parser = argparse.ArgumentParser(prog="python -m ml.training", description="Train a chest film classifier.")
    parser.add_argument("--data", type=Path, required=True, help="folder in the ChestX-ray14 layout")
    parser.add_argument("--out", type=Path, required=True, help="output folder: checkpoints/, cache/, artifact/")
    parser.add_argument(
        "--arch",
        default="densenet121",
        help="torchvision densenet121/169/201, resnet50, vgg16, efficientnet_b0, or a timm name",
    )
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--batch-size", type=int, default=Recipe.batch_size)
    parser.add_argument("--lr", type=float, default=Recipe.lr, help="for a batch of 256")
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--init-weights", type=Path, help="state dict (.pth) or .safetensors with ImageNet weights")
    parser.add_argument("--name", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--resume", action="store_true", help="continue after the newest checkpoint in --out")
    given = parser.parse_args(arguments)
    recipe = Recipe(
        epochs=given.epochs, batch_size=given.batch_size, lr=given.lr, train_size=given.input_size, seed=given.seed
    )
    return TrainingConfig(
        given.data,
        given.out,
        given.arch,
        given.name,
        given.input_size,
        given.init_weights,
        resume=given.resume,
        device=given.device,
        recipe=recipe,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 only if the artifact was written."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        manifest = train(_config(arguments))
    except (
        DatasetInvalid,
        InputRejected,
        WeightsInvalid,
        TrainingDiverged,
        ArtifactInvalid,
        ValueError,
        RuntimeError,
        OSError,
    ) as error:
        sys.stderr.write(f"Training stopped: {error}\n")
        return 1
    sys.stdout.write(f"{manifest.name}: {manifest.sha256}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
