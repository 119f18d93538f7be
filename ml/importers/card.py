"""The model card and the provenance of an imported version: its source, what was left out, what is not measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ml.importers.formats import Converted
from ml.importers.options import Options
from ml.model.artifact import file_sha256
from ml.model.manifest import Threshold
from ml.training.package import DISCLAIMER

NOT_EVALUATED: Final = (
    "Nothing was measured here: no AUROC, no calibration error, no subgroups, no localisation. The source's own "
    "figures, if any, were measured on its own data and split. Evaluate this version before anyone relies on it."
)


def provenance(converted: Converted, options: Options, source: Path) -> dict[str, Any]:
    """The manifest's `data`: where the file came from, and what was left out."""
    return {
        "source": options.source or "Imported; where the weights come from was not stated.",
        "licence": options.licence or "Not stated.",
        "import": {
            "format": options.format,
            "file": source.name,
            "file_sha256": file_sha256(source),
            "dropped": dict(converted.dropped),
            "notes": list(converted.notes),
        },
    }


def card(converted: Converted, options: Options, thresholds: Mapping[str, Threshold | None], how: Sequence[str]) -> str:
    """The model card in Markdown. `how` has sentences about what was fitted on which images."""
    choice, space = converted.choice, converted.space
    scale = f"mean {space.mean[0]:g}, standard deviation {space.std[0]:g} (first channel)"
    lines = [
        f"# {options.name}",
        "",
        f"**{DISCLAIMER}**",
        "",
        f"Imported ({options.format}).",
        "",
        f"Source: {options.source or 'not stated'}.",
        "",
        f"Licence: {options.licence or 'not stated'}.",
        "",
        f"Architecture: {converted.architecture}, average pooling, one linear layer of {len(choice.labels)} findings.",
        "",
        f"Input, as the source has it: {space.size} × {space.size}, {space.fit}, {space.resize}, {scale}.",
        "",
    ]
    if choice.absent:
        lines += [f"Not trained, so never reported: {', '.join(choice.absent)}.", ""]
    if choice.dropped:
        lines += [f"The source's other outputs are left out: {', '.join(choice.dropped)}.", ""]
    points = sum(1 for point in thresholds.values() if point is not None and point.strategy == "imported")
    lines += ["## How it was imported", ""]
    lines += [f"- {note}" for note in (*converted.notes, *how)]
    lines += [
        f"- Operating points that came with the source: {points} of {len(choice.labels)}.",
        "",
        "## Not evaluated",
        "",
        NOT_EVALUATED,
        "",
    ]
    return "\n".join(lines)
