"""The predictor in torch for one CUDA device: bfloat16, channels-last, CUDA graphs, the largest batch compiled."""

import logging
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.model import golden_image
from ml.model.artifact import Artifact
from ml.model.onnx_export import ServingGraph, serving_graph
from ml.model.predictor import Predictor

logger = logging.getLogger(__name__)
Outputs = tuple[Tensor, Tensor, Tensor]

RECORDED_BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""A CUDA graph has a fixed shape, so a batch is padded to the next of these sizes. Only the last is compiled, because
a full queue is processed with it and compiling takes most of a minute per size (DenseNet121, H200)."""

# Only one thread may use the device while a graph is recorded. Later, two threads would not run faster than one.
_DEVICE = Lock()
# torch counts compilations per source line, over all versions, and stops compiling at its default limit of 8.
_RECOMPILE_LIMITS: dict[str, Any] = {"recompile_limit": 4096, "accumulated_recompile_limit": 4096}


class _Bfloat16Graph(nn.Module):
    """A serving graph with convolutions and linear layers in bfloat16.

    Normalisation layers and the head stay in float32, so that the mean of a map still gives the logit. Batch norm takes
    bfloat16 as it comes; other normalisations and attention do not, so autocast converts between their layers.
    """

    def __init__(self, graph: ServingGraph, dtype: torch.dtype) -> None:
        super().__init__()
        self.graph = graph.to(memory_format=torch.channels_last)
        self.dtype = dtype
        for module in graph.network.features.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.to(dtype)
        self.mixed = dtype != torch.float32 and any(
            "Norm" in type(module).__name__ and not isinstance(module, nn.BatchNorm2d)
            for module in graph.network.features.modules()
        )

    def forward(self, images: Tensor) -> Outputs:
        """Run uint8 (N, S, S), or float32 (N, 3, S, S) that the caller normalised."""
        images = self.graph.normalise(images) if images.dtype == torch.uint8 else images
        images = images.to(self.dtype).contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, self.dtype, enabled=self.mixed):
            maps = self.graph.network.features(images)
        outputs: Outputs = self.graph.network.head(maps)
        return outputs


class _RecordedGraph:
    """The network as a CUDA graph for one batch size, with fixed input and output memory.

    The CPU starts one graph instead of 400 kernels.
    """

    def __init__(self, forward: Any, size: int, side: int, device: torch.device, pool: Any) -> None:
        self._images = torch.zeros((size, side, side), dtype=torch.uint8, device=device)
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(aside):
            for _ in range(3):
                forward(self._images)
        aside.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._outputs: Outputs = forward(self._images)

    def __call__(self, images: Tensor) -> Outputs:
        """Run at most `size` images; the rest of the batch keeps old values, and its outputs are not used."""
        self._images[: len(images)].copy_(images, non_blocking=True)
        self._graph.replay()
        return self._outputs


class TorchPredictor(Predictor):
    """The predictor for one CUDA device; other devices of torch work too.

    `warm_up` compiles the network and records the graphs. Before that, and for images that the caller normalised, the
    network runs without them.
    """

    batch_size = RECORDED_BATCHES[-1]

    def __init__(self, artifact: Artifact, device: str) -> None:
        super().__init__(artifact)
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        self.runs_on = f"torch, {torch.cuda.get_device_name(self._device) if self._on_gpu else device}"
        graph = serving_graph(artifact).to(self._device)
        if self._on_gpu:
            self._require_exact(graph)
            # bfloat16 has eight significant bits.
            self.golden_tolerance = 5e-2
        self._network = _Bfloat16Graph(graph, torch.bfloat16 if self._on_gpu else torch.float32)
        self._recorded: dict[int, _RecordedGraph] = {}

    def _require_exact(self, graph: ServingGraph) -> None:
        """Check the golden image in float32, before the weights are rounded to bfloat16."""
        size = self.manifest.input_space.size
        images = torch.from_numpy(golden_image.square(size)[None].copy()).to(self._device)
        with _DEVICE, torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            logits = graph(images)[0][0].cpu().numpy()
        golden_image.check(self.manifest, logits, self.golden_tolerance)

    def warm_up(self) -> None:
        """Record a graph for each batch size and check the golden image in it. The first compilation takes a minute."""
        if self._on_gpu and not self._recorded:
            self._record()
        for count in self._recorded or (1,):
            self._replay(count)

    def _record(self) -> None:
        import torch._dynamo

        side, pool = self.manifest.input_space.size, torch.cuda.graph_pool_handle()
        with torch._dynamo.config.patch(**_RECOMPILE_LIMITS), torch.inference_mode():
            # Keep a reference, because the recorded graph calls the compiled code.
            self._largest = self._compiled(torch.zeros((RECORDED_BATCHES[-1], side, side), dtype=torch.uint8))
            for size in RECORDED_BATCHES:
                forward = self._largest if size == RECORDED_BATCHES[-1] else self._network
                with _DEVICE:
                    self._recorded[size] = _RecordedGraph(forward, size, side, self._device, pool)

    def _compiled(self, images: Tensor) -> Any:
        """The network compiled for images of this shape, or the network itself where compiling fails (no gcc)."""
        compiled = torch.compile(self._network, dynamic=False, fullgraph=True)
        try:
            compiled(images.to(self._device))
        # The compiler starts other compilers, which may raise anything. The version can be served without them.
        except Exception as error:
            logger.warning("The network is not compiled (%s): it is slower.", type(error).__name__)
            return self._network
        return compiled

    def _forward(self, batch: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float32]]:
        images = torch.from_numpy(batch)
        if self._on_gpu:
            images = images.pin_memory()
        run = next((self._recorded[size] for size in self._recorded if size >= len(images)), None)
        with _DEVICE, torch.inference_mode():
            if run is None or images.dtype != torch.uint8:
                outputs = self._network(images.to(self._device, non_blocking=True))
            else:
                outputs = run(images)
            logits, cams, features = (value[: len(images)].cpu().numpy() for value in outputs)
        return logits, cams, features
