"""Write a version with untrained weights, which is as fast as a trained one."""

from pathlib import Path

from ml.labels import LABELS
from ml.model.artifact import save_artifact
from ml.model.calibration import Platt
from ml.model.manifest import Manifest
from ml.model.networks import build
from ml.model.saliency import CamScale
from ml.model.transforms import InputSpace
from ml.training.package import rounded_tensors


def write_untrained(architecture: str, folder: Path, size: int = 224) -> Path:
    """Write an artifact of an architecture with random weights; it has no operating points."""
    import torch

    torch.manual_seed(0)
    network = build(architecture, len(LABELS)).eval()
    with torch.inference_mode():
        _, cams, _ = network(torch.zeros(1, 3, size, size))
    manifest = Manifest(
        name="untrained",
        architecture=architecture,
        input_space=InputSpace(size=size),
        grid=(int(cams.shape[2]), int(cams.shape[3])),
        thresholds=dict.fromkeys(LABELS),
        threshold_notes=dict.fromkeys(LABELS, "Untrained."),
        calibration={label: Platt(1.0, 0.0) for label in LABELS},
        cam_scale={label: CamScale(0.0, 1.0) for label in LABELS},
        gate=None,
        metrics={},
        data={},
        card="Untrained weights for benchmarks. Investigational. Not for diagnostic use.",
        weights_sha256="",
    )
    save_artifact(folder, manifest, rounded_tensors(network))
    return folder
