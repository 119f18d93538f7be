"""The golden image: a fixed input whose logits are stored with a version, so that each load can check them."""

import numpy as np
from numpy.typing import NDArray

from ml.model.manifest import ArtifactInvalid, Manifest


def square(size: int) -> NDArray[np.uint8]:
    """The golden image, uint8 (size, size): a bright middle between dark fields, with fine texture.

    It is computed with integers only, so it is the same on every machine.
    """
    x = np.arange(size, dtype=np.int64) * 512 // size
    middle = 255 - np.abs(x[None, :] - 256) * 3 // 4
    fields = (np.abs(x[:, None] - 256) + np.abs(np.abs(x[None, :] - 256) - 128)) // 3
    texture = (x[None, :] * 37 + x[:, None] * 101 + x[None, :] * x[:, None]) % 23
    return np.clip(middle - fields + texture, 0, 255).astype(np.uint8)


def check(manifest: Manifest, logits: NDArray[np.float32], tolerance: float) -> None:
    """Compare the logits (L,) for `square` with those in the manifest, if it has any.

    Args:
        manifest: of the version.
        logits: what the network computed.
        tolerance: largest difference, in logit units, or as a share of the largest logit where that is above 1.

    Raises:
        ArtifactInvalid: the difference is larger.
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
