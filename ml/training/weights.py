"""Initial weights: a state-dict file, an artifact folder, torchvision's ImageNet weights, or none."""

from pathlib import Path

import torch

from ml.labels import LABELS
from ml.model.artifact import load_artifact, network_tensors
from ml.model.manifest import ArtifactInvalid
from ml.model.networks import CamNetwork, WeightsInvalid, build
from ml.training.config import IMAGENET
from ml.training.package import load_rounded


def initial_network(architecture: str, init_weights: str | None, seed: int) -> CamNetwork:
    """Build the network with its initial weights; what is random comes from `seed`. Raises ValueError, WeightsInvalid.

    An artifact gives its head too, so that a run at a higher resolution goes on from where the other one ended.
    """
    torch.manual_seed(seed)
    if init_weights == IMAGENET:
        return build(architecture, len(LABELS), _imagenet(architecture))
    path = Path(init_weights) if init_weights else None
    if path is None or not path.is_dir():
        return build(architecture, len(LABELS), path)
    try:
        artifact = load_artifact(path)
    except ArtifactInvalid as error:
        raise WeightsInvalid(f"{path.name} is not an artifact to start from: {error}") from error
    if artifact.manifest.architecture != architecture:
        raise WeightsInvalid(
            f"{path.name} is a {artifact.manifest.architecture}, not a {architecture}: give --arch accordingly."
        )
    network = build(architecture, len(LABELS))
    load_rounded(network, network_tensors(artifact.weights_path))
    return network


def _imagenet(architecture: str) -> Path:
    from torchvision import models

    try:
        url = models.get_model_weights(architecture).DEFAULT.url
    except ValueError as error:
        raise WeightsInvalid(
            f"torchvision has no ImageNet weights for {architecture}: give --init-weights FILE instead."
        ) from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    try:
        torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise WeightsInvalid(
            f"The ImageNet weights could not be downloaded ({error}). Fetch {url} where the network allows it and "
            f"give --init-weights FILE, or put the file at {path}."
        ) from error
    return path
