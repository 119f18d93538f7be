"""Export an artifact to one ONNX graph, in a process of its own: `python -m ml.onnx_export ARTIFACT OUT`.

The serving process on a CPU therefore never imports torch. The graph takes uint8 (N, S, S) and normalises inside.
"""

import argparse
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ml import golden
from ml.artifact import Artifact, ArtifactInvalid, load_artifact, network_tensors
from ml.networks import CamNetwork, build
from ml.transforms import InputSpace

OPSET = 20
MAX_PARITY_ERROR = 1e-4


class ServingGraph(nn.Module):
    """uint8 (N, S, S) -> logits (N, L), cams (N, L, h, w), pooled features (N, C), all float32."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: CamNetwork, space: InputSpace) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(space.mean), torch.tensor(space.std)
        self.register_buffer("scale", (1.0 / (255.0 * std))[:, None, None])
        self.register_buffer("shift", (-mean / std)[:, None, None])

    def normalise(self, squares: Tensor) -> Tensor:
        """uint8 (N, S, S) -> float32 (N, 3, S, S)."""
        return squares.unsqueeze(1).to(torch.float32) * self.scale + self.shift

    def forward(self, squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, cams, pooled = self.network(self.normalise(squares))
        return logits, cams, pooled


def serving_graph(artifact: Artifact) -> ServingGraph:
    """Rebuild the network of an artifact in evaluation mode. Raises ArtifactInvalid if its tensors do not fit."""
    manifest = artifact.manifest
    try:
        network = build(manifest.architecture, len(manifest.labels))
        state = {k: torch.from_numpy(v) for k, v in network_tensors(artifact.weights_path).items()}
        network.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError) as error:
        raise ArtifactInvalid("weights-shape-mismatch", f"Architecture {manifest.architecture}.") from error
    graph = ServingGraph(network, manifest.input_space)
    return graph.eval().requires_grad_(False)


def export(artifact: Artifact, out: Path) -> None:
    """Write the ONNX graph (dynamic batch) to `out`, whole or not at all."""
    graph = serving_graph(artifact)
    size = artifact.manifest.input_space.size
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    example = torch.zeros(2, size, size, dtype=torch.uint8)
    try:
        with warnings.catch_warnings():
            # The exporter warns about its own internals; nothing in them is ours to act on.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                (example,),
                str(aside),
                input_names=["squares"],
                output_names=["logits", "cams", "features"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes={"squares": {0: torch.export.Dim("batch", min=1, max=1024)}},
                external_data=False,
                verbose=False,
            )
        _check_parity(graph, aside, size)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)


def _check_parity(graph: ServingGraph, path: Path, size: int) -> None:
    """Both runtimes must answer the golden image alike. Raises ValueError."""
    import onnxruntime

    squares = golden.square(size)[None]
    with torch.inference_mode():
        expected = graph(torch.from_numpy(squares))[0].numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    error = float(np.abs(session.run(["logits"], {"squares": squares})[0] - expected).max())
    if not error <= MAX_PARITY_ERROR * max(1.0, float(np.abs(expected).max())):
        raise ValueError(f"ONNX Runtime and torch differ by {error:.2g} on the golden image.")


def main() -> None:
    """Command line entry; the exit status tells success."""
    parser = argparse.ArgumentParser(description="Export an artifact folder to ONNX.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    export(load_artifact(arguments.artifact), arguments.out)


if __name__ == "__main__":
    main()
