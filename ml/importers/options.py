"""What the person who imports a model says about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Format = Literal["xrv", "chexnet", "state-dict", "bundle"]
FORMATS: tuple[str, ...] = get_args(Format)


@dataclass(frozen=True)
class Options:
    """`labels` names the outputs of the file in their order, "" for one that means nothing. `release` is the library's
    own name of its weights (TorchXRayVision). The fields of the input space replace the format's own where given.
    `drop` lists tensors, by the beginnings of their names, that are knowingly left out. `calibrate` is a folder in the
    ChestX-ray14 layout; without one the heatmaps' scale comes from `phantoms` synthetic films.
    """

    format: Format
    name: str
    architecture: str | None = None
    labels: tuple[str, ...] | None = None
    release: str | None = None
    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: str | None = None
    resize: str | None = None
    drop: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    calibrate: Path | None = None
    phantoms: int = 16
