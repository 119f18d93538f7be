"""The options of an import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Format = Literal["xrv", "chexnet", "state-dict", "bundle"]
FORMATS: tuple[str, ...] = get_args(Format)


@dataclass(frozen=True)
class Options:
    """The options of an import.

    Attributes:
        format: of the file.
        name: of the new version.
        architecture: None to recognise it from the tensors.
        labels: names of the file's outputs in their order, "" for one without meaning.
        release: TorchXRayVision's name of its weights.
        size, mean, std, fit, resize: replace the input space of the format.
        drop: prefixes of the names of tensors to leave out.
        source, licence: texts for the card.
        calibrate: folder of a data set for calibration.
        phantoms: number of synthetic images for the scale of the heatmaps, where there is no such folder.
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
