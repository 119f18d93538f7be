"""The held-out outputs that an artifact carries: what its calibration and operating points were chosen on.

With them, figures that depend on all labels at once (alarms on normal images at other operating points, the reference
for drift) can be computed for a version that is already in service. They hold no image and no patient.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PREFIX = "held_out."
VIEWS = ("", "PA", "AP")
MOST_IMAGES = 20_000
_UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class HeldOutRecord:
    """Network outputs on held-out images.

    Attributes:
        logits: (N, L) float32, before calibration.
        truth: (N, L) float32 of 0, 1 and NaN (unknown).
        views: (N,), "PA", "AP" or "" (another one, or unknown).
        patients: (N,) int32, the same number for images of one patient; not an identifier.
    """

    logits: NDArray[np.float32]
    truth: NDArray[np.float32]
    views: NDArray[np.str_]
    patients: NDArray[np.int32]

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays as the weights file stores them; of more than MOST_IMAGES images, evenly spaced ones."""
        kept = np.unique(np.linspace(0, len(self.logits) - 1, MOST_IMAGES).astype(np.intp))
        truth = np.where(np.isnan(self.truth), _UNKNOWN, self.truth).astype(np.int8)
        views = np.array([VIEWS.index(view) if view in VIEWS else 0 for view in self.views], dtype=np.int8)
        arrays: dict[str, NDArray[Any]] = {
            "logits": self.logits,
            "truth": truth,
            "views": views,
            "patients": self.patients,
        }
        return {f"{PREFIX}{name}": value[kept] for name, value in arrays.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> "HeldOutRecord | None":
        """Inverse of `tensors`; None where there are none.

        Raises:
            ValueError: an array is missing, or the shapes or values do not fit.
        """
        found = [tensors.get(f"{PREFIX}{name}") for name in ("logits", "truth", "views", "patients")]
        if all(value is None for value in found):
            return None
        logits, truth, views, patients = found
        if logits is None or truth is None or views is None or patients is None:
            raise ValueError("The held-out outputs are incomplete.")
        if logits.ndim != 2 or truth.shape != logits.shape or not views.shape == patients.shape == logits.shape[:1]:
            raise ValueError("The held-out outputs have unequal shapes.")
        if len(views) and not (views.min() >= 0 and views.max() < len(VIEWS)):
            raise ValueError("The held-out outputs name an unknown view.")
        known = np.where(truth == _UNKNOWN, np.nan, truth).astype(np.float32)
        return cls(logits.astype(np.float32), known, np.array(VIEWS)[views], patients.astype(np.int32))


def read_held_out(artifact_dir: Path) -> HeldOutRecord | None:
    """Read only these arrays of an artifact's weights file; None where the version has none.

    Raises:
        OSError: the file cannot be read.
        ValueError: the arrays do not fit together.
    """
    from safetensors import safe_open

    with safe_open(str(Path(artifact_dir) / "model.safetensors"), framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118
        return HeldOutRecord.from_tensors({name: file.get_tensor(name) for name in names})
