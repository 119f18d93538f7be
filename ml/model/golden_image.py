"""The golden image: one fixed input whose answer is kept with a version, so that whoever loads it can replay it."""

import numpy as np
from numpy.typing import NDArray

from ml.model.artifact import ArtifactInvalid, Manifest


def square(size: int) -> NDArray[np.uint8]:
    """uint8 (size, size): a bright middle between dark fields, with fine texture. The same on every machine, since it
    is made of whole numbers alone."""
    x = np.arange(size, dtype=np.int64) * 512 // size
    middle = 255 - np.abs(x[None, :] - 256) * 3 // 4
    fields = (np.abs(x[:, None] - 256) + np.abs(np.abs(x[None, :] - 256) - 128)) // 3
    texture = (x[None, :] * 37 + x[:, None] * 101 + x[None, :] * x[:, None]) % 23
    return np.clip(middle - fields + texture, 0, 255).astype(np.uint8)


def check(manifest: Manifest, logits: NDArray[np.float32], tolerance: float) -> None:
    """Compare the answer (L,) to `square` with the manifest's; nothing where it has none.

    tolerance: largest difference in logit units, or as a share of the largest logit where that is above 1.
    Raises ArtifactInvalid.
    """
    if manifest.golden_logits is None:
        return
    expected = np.asarray(manifest.golden_logits)
    error = float(np.abs(logits - expected).max()) / max(1.0, float(np.abs(expected).max()))
    if not error <= tolerance:
        raise ArtifactInvalid(
            "golden-mismatch",
            f"Off by {error:.2g} where {tolerance:g} is allowed: register what it was made from once more.",
        )
