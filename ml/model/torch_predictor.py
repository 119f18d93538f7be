"""The forward in torch, for one CUDA device: bfloat16, channels-last, recorded as CUDA graphs, the largest compiled."""

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
"""A recorded graph holds for one shape; a batch is padded to the next of these. Only the last is compiled: a queue is
drained with it, and compiling takes most of a minute for each where recording takes none (DenseNet121, H200)."""

# Who records a graph must not be disturbed, and films of two threads would only take turns on the device anyway.
_DEVICE = Lock()
# torch keeps what it compiled by the code's line, of all versions together; beyond its own limit of 8 it refuses more.
_MANY: dict[str, Any] = {"recompile_limit": 4096, "accumulated_recompile_limit": 4096}


class _HalfGraph(nn.Module):
    """A serving graph whose convolutions run in bfloat16; norms keep their statistics, and the head its weights, in
    float32, so that the maps still sum to the logits."""

    def __init__(self, graph: ServingGraph, dtype: torch.dtype) -> None:
        super().__init__()
        self.graph = graph.to(memory_format=torch.channels_last)
        self.dtype = dtype
        for module in graph.network.features.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.to(dtype)

    def forward(self, films: Tensor) -> Outputs:
        """uint8 (N, S, S) as films are, or float32 (N, 3, S, S) as callers normalise them."""
        images = self.graph.normalise(films) if films.dtype == torch.uint8 else films
        images = images.to(self.dtype).contiguous(memory_format=torch.channels_last)
        outputs: Outputs = self.graph.network.head(self.graph.network.features(images).float())
        return outputs


class _Recorded:
    """A forward for one batch size, from fixed memory into fixed memory: the CPU starts one thing instead of 400."""

    def __init__(self, forward: Any, size: int, side: int, device: torch.device, pool: Any) -> None:
        self._films = torch.zeros((size, side, side), dtype=torch.uint8, device=device)
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(aside):
            for _ in range(3):
                forward(self._films)
        aside.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._outputs: Outputs = forward(self._films)

    def __call__(self, films: Tensor) -> Outputs:
        """At most `size` films; the rest of the batch holds whatever was there, and nobody looks at it."""
        self._films[: len(films)].copy_(films, non_blocking=True)
        self._graph.replay()
        return self._outputs


class TorchPredictor(Predictor):
    """Meant for one CUDA device, usable on any that torch knows.

    `warm_up` compiles and records; before that, and for what callers preprocessed, the same network runs as it is.
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
            # bfloat16 keeps eight bits of a number.
            self.golden_tolerance = 5e-2
        self._network = _HalfGraph(graph, torch.bfloat16 if self._on_gpu else torch.float32)
        self._recorded: dict[int, _Recorded] = {}

    def _require_exact(self, graph: ServingGraph) -> None:
        """The golden image in float32, before anything is rounded: these are the weights that were packaged."""
        size = self.manifest.input_space.size
        films = torch.from_numpy(golden_image.square(size)[None].copy()).to(self._device)
        with _DEVICE, torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            logits = graph(films)[0][0].cpu().numpy()
        golden_image.check(self.manifest, logits, self.golden_tolerance)

    def warm_up(self) -> None:
        """Record each batch size and replay the golden image in it. Compiling takes about a minute the first time."""
        if self._on_gpu and not self._recorded:
            self._record()
        for count in self._recorded or (1,):
            self._replay(count)

    def _record(self) -> None:
        import torch._dynamo

        side, pool = self.manifest.input_space.size, torch.cuda.graph_pool_handle()
        with torch._dynamo.config.patch(**_MANY), torch.inference_mode():
            # Kept: the recorded graph calls what the compiler made.
            self._largest = self._compiled(torch.zeros((RECORDED_BATCHES[-1], side, side), dtype=torch.uint8))
            for size in RECORDED_BATCHES:
                forward = self._largest if size == RECORDED_BATCHES[-1] else self._network
                with _DEVICE:
                    self._recorded[size] = _Recorded(forward, size, side, self._device, pool)

    def _compiled(self, films: Tensor) -> Any:
        """The network compiled for films of this shape; as it is where the compiler fails, for want of gcc, say."""
        compiled = torch.compile(self._network, dynamic=False, fullgraph=True)
        try:
            compiled(films.to(self._device))
        # The compiler starts other compilers, and whatever they raise, the version can be served.
        except Exception as error:
            logger.warning("The network is not compiled, which costs speed alone (%s).", type(error).__name__)
            return self._network
        return compiled

    def _forward(self, batch: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float32]]:
        films = torch.from_numpy(batch)
        if self._on_gpu:
            films = films.pin_memory()
        run = next((self._recorded[size] for size in self._recorded if size >= len(films)), None)
        with _DEVICE, torch.inference_mode():
            if run is None or films.dtype != torch.uint8:
                outputs = self._network(films.to(self._device, non_blocking=True))
            else:
                outputs = run(films)
            logits, cams, features = (value[: len(films)].cpu().numpy() for value in outputs)
        return logits, cams, features
