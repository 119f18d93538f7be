"""The options of a training, the same for `python -m ml.training` and `manage.py train_model`. Imports no torch."""

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ml.training.config import IMAGENET, LOSSES, RANDOM, RECIPES, SPLITS, SWITCH, TrainingConfig, with_recipe
from ml.training.nodes import Nodes


def _number(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError as error:
            raise ArgumentTypeError(f"{text!r} is not a number") from error
        if value < least:
            raise ArgumentTypeError(f"{text} is less than {least}")
        return value

    return read


def add_arguments(parser: ArgumentParser) -> None:
    """All options except --out, whose default is the caller's."""
    parser.add_argument("--data", type=Path, required=True, help="folder in a layout of docs/data.md")
    parser.add_argument("--split", choices=SPLITS, default="official", help="the data set's own, or the folder's lists")
    parser.add_argument(
        "--arch",
        default="densenet121",
        help="torchvision densenet121/169/201, resnet50, vgg16, efficientnet_b0, or a timm name (docs/training.md)",
    )
    parser.add_argument("--name", default="", help="name of the version, by default chexnet-ARCH")
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="r1", help="see docs/training.md")
    parser.add_argument("--epochs", type=_number(int, 1))
    parser.add_argument("--batch-size", type=_number(int, 1), help="over all ranks together")
    parser.add_argument("--lr", type=_number(float, 0), help="for a batch of 256")
    parser.add_argument("--input-size", type=_number(int, 32), help="side of the network's input in pixels")
    parser.add_argument("--seed", type=_number(int, 0))
    _add_optimisation(parser)
    parser.add_argument(
        "--init-weights",
        metavar="FILE",
        help=f"state dict (.pth, .safetensors), artifact folder, {IMAGENET!r} (or of the timm tag), or {RANDOM!r}",
    )
    parser.add_argument("--cache", type=Path, help="folder of decoded films, by default cache/ in the output folder")
    parser.add_argument("--resume", action=BooleanOptionalAction, default=True, help="go on after the last checkpoint")
    parser.add_argument("--fresh", action="store_true", help="start anew: the same as --no-resume")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--deterministic", action="store_true", help="two runs give the same bits, more slowly")
    parser.add_argument("--compile", choices=SWITCH, default="auto", help="torch.compile; auto: on GPUs")
    parser.add_argument("--compress", choices=SWITCH, default="auto", help="gradients travel as bfloat16")
    parser.add_argument("--micro-batch", type=_number(int, 0), default=0, help="most films of one forward on a rank")
    parser.add_argument("--checkpoint-minutes", type=_number(float, 0), default=10.0, help="between epochs' ends")
    _add_nodes(parser)


def _add_optimisation(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("optimisation", "instead of what the recipe says")
    group.add_argument("--layer-decay", type=_number(float, 0), help="of the learning rate, from the head downwards")
    group.add_argument("--drop-path", type=_number(float, 0), help="share of residual branches left out (timm names)")
    group.add_argument("--mixup", type=_number(float, 0), help="alpha; 0 mixes no films")
    group.add_argument("--randaugment", type=_number(int, 0), metavar="OPERATIONS", help="after crop and exposure")
    group.add_argument("--loss", choices=LOSSES)
    group.add_argument("--ema-share", type=_number(float, 0), help="memory of the averaged weights, of all steps")


def _add_nodes(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("nodes")
    group.add_argument("--nnodes", default="1", help="how many nodes, or MINIMUM:MAXIMUM")
    group.add_argument("--nproc-per-node", type=_number(int, 1), help="ranks on each, by default its GPUs, else one")
    group.add_argument(
        "--rdzv-endpoint",
        metavar="HOST:PORT",
        help="rendezvous of the nodes, of which this machine is one; the same command runs on each",
    )
    group.add_argument("--rdzv-id", help="id of the rendezvous, the same on all nodes")
    group.add_argument("--max-restarts", type=_number(int, 0), default=3)
    group.add_argument("--join-timeout", type=_number(float, 1), default=600.0, help="seconds to wait for nodes")
    group.add_argument(
        "--silence-timeout", type=_number(float, 3), default=15.0, help="seconds until a node counts as gone"
    )
    group.add_argument("--collective-timeout", type=_number(float, 1), default=300.0, help="seconds to wait for ranks")


def from_arguments(given: Namespace, out: Path) -> tuple[TrainingConfig, Nodes]:
    """The settings of a run in the folder `out`. Raises ValueError with what to correct."""
    preset = with_recipe(
        given.recipe, epochs=given.epochs, batch_size=given.batch_size, lr=given.lr, seed=given.seed,
        train_size=given.input_size, layer_decay=given.layer_decay, drop_path=given.drop_path, mixup=given.mixup,
        operations=given.randaugment, loss=given.loss, ema_share=given.ema_share,
    )  # fmt: skip
    config = TrainingConfig(
        data=given.data,
        out=out,
        architecture=given.arch,
        name=given.name,
        input_size=given.input_size or preset.input_size,
        init_weights=_existing(given.init_weights),
        split=given.split,
        resume=given.resume and not given.fresh,
        device=given.device,
        deterministic=given.deterministic,
        compile=given.compile,
        compress=given.compress,
        micro_batch=given.micro_batch,
        cache=given.cache,
        checkpoint_minutes=given.checkpoint_minutes,
        collective_timeout=given.collective_timeout,
        recipe=preset.recipe,
    )
    nodes = Nodes.parse(
        given.nnodes,
        nproc_per_node=given.nproc_per_node,
        rdzv_endpoint=given.rdzv_endpoint,
        max_restarts=given.max_restarts,
        rdzv_id=given.rdzv_id,
        join_timeout=given.join_timeout,
        silence_timeout=given.silence_timeout,
        device=given.device,
    )
    return config, nodes


def _existing(weights: str | None) -> str | None:
    if weights == "":
        raise ValueError(
            f"--init-weights is empty (with Compose: TRAINING_INIT_WEIGHTS). Give a file or an artifact folder, "
            f"{IMAGENET!r}, or {RANDOM!r} to start from random weights."
        )
    if weights is None or weights == RANDOM:
        return None
    if weights == IMAGENET:
        return weights
    if not Path(weights).exists():
        raise ValueError(f"--init-weights {weights}: no such file. Give an existing one, or {IMAGENET!r}.")
    return str(Path(weights).resolve())


def check_architectures(names: Iterable[str]) -> None:
    """Build each once, before anything is trained. Imports torch. Raises ValueError for one that cannot be trained."""
    from ml.labels import LABELS
    from ml.model.networks import build

    for name in names:
        build(name, len(LABELS))
