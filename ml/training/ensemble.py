"""Make one artifact of several: `python -m ml.training.ensemble --data DIR --out DIR ARTIFACT ARTIFACT ...`.

The version answers with the mean of its members' logits. It is measured, calibrated and packaged on the validation
images that its members were selected by; the same folder and split must be given. With --flip each member also sees the
mirror image, which takes twice as long. One artifact with --flip is a version that averages over both.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.data import DatasetInvalid
from ml.errors import InputRejected
from ml.model.artifact import Artifact, load_artifact, network_tensors
from ml.model.ensemble import ensemble_name, members_of
from ml.model.manifest import ArtifactInvalid, Manifest
from ml.model.networks import build
from ml.training.config import SPLIT_SEED, TrainingConfig
from ml.training.package import load_rounded
from ml.training.run import measured_artifact, prepare


class EnsembleRefused(ValueError):
    """Artifacts that can't be averaged; the message says which differs in what."""


def ensemble(artifacts: Sequence[Path], data: Path, out: Path, *, flip: bool = False, name: str = "") -> Manifest:
    """Write the mean of trained artifacts to `out/artifact`.

    Args:
        artifacts: folders that a training wrote.
        data: the folder of images that they were trained on.
        out: for the artifact and the cache of decoded images.
        flip: average over each image and its mirror image.
        name: of the version.

    Raises:
        EnsembleRefused: they differ in labels, input or split, or `data` has other lists.
        ArtifactInvalid, DatasetInvalid, InputRejected, ValueError.
    """
    members = [load_artifact(path) for path in artifacts]
    _check(members, flip)
    parts = [_member(member.manifest, flip) for member in members]
    size = max(own for _, own in parts)
    architecture = parts[0][0] if len(parts) == 1 else ensemble_name(parts)
    settings = members[0].manifest.data["settings"]
    config = TrainingConfig(
        data, out, architecture, name=name or f"ensemble-of-{len(members)}", input_size=size,
        split=settings["split"], validation=settings["validation"],
    )  # fmt: skip
    prepared = prepare(config, to_fit=False)
    wanted = members[0].manifest.data["split_sha256"]
    if prepared.split.sha256 != wanted:
        raise EnsembleRefused(
            f"{data} has other lists than those that the artifacts were trained with ({prepared.split.sha256[:12]} "
            f"instead of {wanted[:12]}). Give the folder that they were trained on."
        )
    labels = members[0].manifest.labels
    network = build(architecture, len(labels), size=size).eval()
    load_rounded(network, _tensors(members, flip))
    used = {key: settings[key] for key in ("split", "validation")}
    return measured_artifact(
        config,
        prepared,
        network,
        _text(members, flip),
        {"members": [_figures(member.manifest) for member in members]},
        {**used, "architecture": architecture, "input_size": size, "split_seed": SPLIT_SEED, "flip": flip},
        labels,
    )


def _check(members: Sequence[Artifact], flip: bool) -> None:
    if len(members) < 2 and not flip:
        raise EnsembleRefused("Give two or more artifacts, or one with --flip.")
    first = members[0].manifest
    for member in (each.manifest for each in members):
        if members_of(member.architecture):
            raise EnsembleRefused(f"{member.name} is an ensemble: give its members.")
        if member.labels != first.labels:
            raise EnsembleRefused(f"{member.name} has other findings than {first.name}.")
        settings = member.data.get("settings", {})
        if not {"split", "validation"} <= set(settings) or settings.get("split_seed") != SPLIT_SEED:
            raise EnsembleRefused(f"{member.name} was not trained by this release: its validation films are not known.")
        space, other = member.input_space, first.input_space
        if (space.fit, space.resize, space.mean, space.std) != (other.fit, other.resize, other.mean, other.std):
            raise EnsembleRefused(f"{member.name} takes other input than {first.name}.")
        if member.data["split_sha256"] != first.data["split_sha256"]:
            raise EnsembleRefused(
                f"{member.name} was trained with other lists than {first.name} (split "
                f"{member.data['split_sha256'][:12]} instead of {first.data['split_sha256'][:12]}): what one was "
                "fitted on would be what the other is selected by."
            )


def _member(manifest: Manifest, flip: bool) -> tuple[str, int]:
    flipped = "+flip" if flip and "+flip" not in manifest.architecture else ""
    return manifest.architecture + flipped, manifest.input_space.size


def _tensors(members: Sequence[Artifact], flip: bool) -> dict[str, NDArray[Any]]:
    """The tensors of all members under the names of the ensemble."""
    tensors: dict[str, NDArray[Any]] = {}
    weights, biases = [], []
    for number, member in enumerate(members):
        prefix = "features." if len(members) == 1 else f"features.{number}.features."
        if flip and "+flip" not in member.manifest.architecture:
            prefix += "maps."
        for name, value in network_tensors(member.weights_path).items():
            if name.startswith("features."):
                tensors[prefix + name.removeprefix("features.")] = value
            elif name == "classifier.weight":
                weights.append(value / len(members))
            elif name == "classifier.bias":
                biases.append(value / len(members))
    return {
        **tensors,
        "classifier.weight": np.concatenate(weights, axis=1),
        "classifier.bias": np.asarray(np.sum(biases, axis=0), dtype=np.float32),
    }


def _figures(manifest: Manifest) -> dict[str, Any]:
    validation = manifest.metrics.get("validation", {})
    return {"name": manifest.name, "sha256": manifest.sha256, "validation_auroc": validation.get("mean_auroc")}


def _text(members: Sequence[Artifact], flip: bool) -> str:
    each = "; ".join(
        f"{member.manifest.name} ({member.manifest.architecture} at {member.manifest.input_space.size} pixels, seed "
        f"{member.manifest.data['settings'].get('recipe', {}).get('seed', 0)}, version {member.sha256[:12]})"
        for member in members
    )
    forwards = len(members) * (2 if flip else 1)
    what = "the mean over the film and its mirror image of " if flip else "the mean of "
    return f"{what}{len(members)} trained versions: {each}. A film costs {forwards} forwards of such networks."


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 only if the artifact is written."""
    parser = argparse.ArgumentParser(prog="python -m ml.training.ensemble", description="Average trained artifacts.")
    parser.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT")
    parser.add_argument("--data", type=Path, required=True, help="the folder that they were trained on")
    parser.add_argument("--out", type=Path, required=True, help="output folder: cache/, artifact/")
    parser.add_argument("--flip", action="store_true", help="average over each film and its mirror image")
    parser.add_argument("--name", default="", help="name of the version")
    given = parser.parse_args(arguments)
    try:
        manifest = ensemble(given.artifacts, given.data, given.out, flip=given.flip, name=given.name)
    except (ArtifactInvalid, DatasetInvalid, InputRejected, OSError, ValueError) as error:
        sys.stderr.write(f"No ensemble was written: {error}\n")
        return 1
    sys.stdout.write(f"{given.out / 'artifact'} {manifest.sha256}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
