"""Export an artifact to ONNX, in a process of its own: `python -m ml.model.onnx_export ARTIFACT SQUARES IMAGES`.

Because of the separate process, serving on a CPU never imports torch. Two graphs are written. One takes uint8
(N, S, S) and normalises inside; the other takes float32 (N, 3, S, S) that the caller has normalised. The first is a
normalisation followed by the second, so both run the same network.
"""

import argparse
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from ml.model import golden_image
from ml.model.artifact import Artifact, load_artifact, network_tensors
from ml.model.manifest import ArtifactInvalid
from ml.model.networks import CamNetwork, build
from ml.model.timm_features import without_absent_norm
from ml.model.transforms import InputSpace

OPSET = 20
MAX_PARITY_ERROR = 1e-4


class Normalise(nn.Module):
    """uint8 (N, S, S) -> float32 (N, 3, S, S), in the units of the input space."""

    scale: Tensor
    shift: Tensor

    def __init__(self, space: InputSpace) -> None:
        super().__init__()
        mean, std = torch.tensor(space.mean), torch.tensor(space.std)
        self.register_buffer("scale", (1.0 / (255.0 * std))[:, None, None])
        self.register_buffer("shift", (-mean / std)[:, None, None])

    def forward(self, squares: Tensor) -> Tensor:
        return squares.unsqueeze(1).to(torch.float32) * self.scale + self.shift


class ServingGraph(nn.Module):
    """uint8 (N, S, S) -> logits (N, L), cams (N, L, h, w), pooled features (N, C), all float32."""

    def __init__(self, network: CamNetwork, space: InputSpace) -> None:
        super().__init__()
        self.network = network
        self.normalise = Normalise(space)

    def forward(self, squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, cams, pooled = self.network(self.normalise(squares))
        return logits, cams, pooled


def serving_graph(artifact: Artifact) -> ServingGraph:
    """Rebuild the network of an artifact in evaluation mode.

    Raises:
        ArtifactInvalid: the tensors do not fit the architecture.
    """
    manifest = artifact.manifest
    try:
        size = manifest.input_space.size
        network = build(manifest.architecture, len(manifest.labels), stages=manifest.stages, size=size)
        state = {k: torch.from_numpy(v) for k, v in network_tensors(artifact.weights_path).items()}
        without_absent_norm(network.features, state)
        network.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError) as error:
        raise ArtifactInvalid("weights-shape-mismatch", f"Architecture {manifest.architecture}.") from error
    graph = ServingGraph(network, manifest.input_space)
    return graph.eval().requires_grad_(False)


def export(artifact: Artifact, squares: Path, images: Path) -> None:
    """Write both ONNX graphs with a dynamic batch size, each atomically; `squares` last, as the mark of completion."""
    graph = serving_graph(artifact)
    _use_clamp_for_relu6(graph)
    size = artifact.manifest.input_space.size
    with warnings.catch_warnings():
        # The exporter warns about its own internals, which we cannot change.
        warnings.simplefilter("ignore")
        network = _onnx(graph.network, torch.zeros(2, 3, size, size), "images", ["logits", "cams", "features"])
        normalise = _onnx(graph.normalise, torch.zeros(2, size, size, dtype=torch.uint8), "squares", ["normalised"])
    # The exporter uses the same inner names in every graph, so one graph needs a prefix before the merge.
    first = onnx.compose.add_prefix(normalise, "first/", rename_inputs=False, rename_outputs=False)
    whole = onnx.compose.merge_models(first, network, [("normalised", "images")])
    _write(network, images)
    _write(whole, squares, lambda written: _check_parity(graph, written, size))


class Clamp6(nn.Module):
    """The values of nn.ReLU6, as an operation that ONNX has."""

    def forward(self, values: Tensor) -> Tensor:
        return values.clamp(0.0, 6.0)


def _use_clamp_for_relu6(module: nn.Module) -> None:
    """Replace every nn.ReLU6, which the exporter decomposes slowly: half of the starter's export without this."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU6):
            setattr(module, name, Clamp6())
        else:
            _use_clamp_for_relu6(child)


def _onnx(module: nn.Module, example: Tensor, takes: str, gives: list[str]) -> Any:
    program = torch.onnx.export(
        module,
        (example,),
        input_names=[takes],
        output_names=gives,
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _write(model: Any, out: Path, check: Callable[[Path], None] | None = None) -> None:
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        onnx.save_model(model, str(aside))
        if check:
            check(aside)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)


def _check_parity(graph: ServingGraph, path: Path, size: int) -> None:
    """Compare the logits of ONNX Runtime and torch for the golden image.

    Raises:
        ValueError: they differ by more than MAX_PARITY_ERROR.
    """
    import onnxruntime

    squares = golden_image.square(size)[None]
    with torch.inference_mode():
        expected = graph(torch.from_numpy(squares))[0].numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    error = float(np.abs(session.run(["logits"], {"squares": squares})[0] - expected).max())
    if not error <= MAX_PARITY_ERROR * max(1.0, float(np.abs(expected).max())):
        raise ValueError(f"ONNX Runtime and torch differ by {error:.2g} on the golden image.")


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description="Export an artifact folder to ONNX.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("squares", type=Path)
    parser.add_argument("images", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    export(load_artifact(arguments.artifact), arguments.squares, arguments.images)


if __name__ == "__main__":
    main()
