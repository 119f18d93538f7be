"""Initial weights: a state-dict file, an artifact folder, torchvision's ImageNet weights, or none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from ml.labels import LABELS
from ml.model.artifact import load_artifact, network_tensors
from ml.model.feature_weights import WeightsInvalid
from ml.model.manifest import ArtifactInvalid
from ml.model.networks import ARCHITECTURES, CamNetwork, build
from ml.model.timm_features import TimmFeatures, without_absent_norm
from ml.training.config import IMAGENET
from ml.training.package import load_rounded


def initial_network(
    architecture: str, init_weights: str | None, seed: int, size: int = 224, drop_path: float = 0.0
) -> CamNetwork:
    """Build the network with its initial weights; what is random comes from `seed`. Raises ValueError, WeightsInvalid.

    An artifact gives its head too, so that a run at a higher resolution goes on from where the other one ended.
    """
    if "@" in architecture:
        raise ValueError("An ensemble is made of trained artifacts: python -m ml.training.ensemble.")
    torch.manual_seed(seed)
    path = Path(init_weights) if init_weights and init_weights != IMAGENET else None
    if init_weights == IMAGENET:
        path = _published(architecture.split("+")[0])
    if path is None or not path.is_dir():
        return build(architecture, len(LABELS), path, size=size, drop_path=drop_path)
    try:
        artifact = load_artifact(path)
    except ArtifactInvalid as error:
        raise WeightsInvalid(f"{path.name} is not an artifact to start from: {error}") from error
    if artifact.manifest.architecture != architecture:
        raise WeightsInvalid(
            f"{path.name} is a {artifact.manifest.architecture}, not a {architecture}: give --arch accordingly."
        )
    network = build(architecture, len(LABELS), size=size, drop_path=drop_path)
    tensors = network_tensors(artifact.weights_path)
    without_absent_norm(network.features, tensors)
    load_rounded(network, _with_all_outputs(network, _resized(network, tensors), artifact.manifest.labels))
    return network


def _with_all_outputs(
    network: CamNetwork, tensors: Mapping[str, NDArray[Any]], labels: Sequence[str]
) -> Mapping[str, NDArray[Any]]:
    """The tensors with the network's own, random head for the findings that the artifact has no output for."""
    rows = [LABELS.index(label) for label in labels]
    head = {}
    for name in ("classifier.weight", "classifier.bias"):
        head[name] = network.state_dict()[name].numpy().copy()
        head[name][rows] = tensors[name]
    return {**tensors, **head}


def _resized(network: CamNetwork, tensors: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """Interpolate the position embeddings of a transformer that was trained on images of another size."""
    if all(value.shape == tensors[name].shape for name, value in network.state_dict().items() if name in tensors):
        return tensors
    for path, module in network.named_modules():
        if isinstance(module, TimmFeatures):
            prefix = f"{path}.body."
            own = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in tensors.items() if k.startswith(prefix)}
            converted = {f"{path}.{name}": value.numpy() for name, value in module.converted(own).items()}
            return {**tensors, **{name: value for name, value in converted.items() if name in tensors}}
    return tensors


def _published(architecture: str) -> Path:
    """The file of published weights: of torchvision, or by the tag of a timm name (vit_base_patch16_224.mae)."""
    return _of_torchvision(architecture) if architecture in ARCHITECTURES else _of_timm(architecture)


def _of_timm(name: str) -> Path:
    import timm

    try:
        published = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise WeightsInvalid(f"{error} timm.list_pretrained() lists the tags.") from error
    if published is None or not published.hf_hub_id:
        raise WeightsInvalid(f"timm has no published weights for {name}: give --init-weights FILE instead.")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(published.hf_hub_id, published.hf_hub_filename or "model.safetensors"))
    # The client raises errors of its own and of the HTTP library.
    except Exception as error:
        raise WeightsInvalid(
            f"The weights could not be downloaded from huggingface.co/{published.hf_hub_id} ({type(error).__name__}). "
            "Fetch its model.safetensors where the network allows it, and give --init-weights FILE."
        ) from error


def _of_torchvision(architecture: str) -> Path:
    from torchvision import models

    url = models.get_model_weights(architecture).DEFAULT.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    try:
        torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise WeightsInvalid(
            f"The ImageNet weights could not be downloaded ({error}). Fetch {url} where the network allows it and "
            f"give --init-weights FILE, or put the file at {path}."
        ) from error
    return path
