"""Images for benchmarks: distinct instances of about 1 MB, uncompressed, like those that a CR or DX device sends."""

import io
from functools import lru_cache

from ml.phantom import SyntheticImage, generate, synthetic_uid, write_dicom

SIDE = 720  # 720 × 720 × 2 bytes = 1.04 MB
_SEEDS = 8


@lru_cache(maxsize=_SEEDS)
def _image(seed: int) -> SyntheticImage:
    return generate(seed, size=SIDE)


def image_bytes(number: int, run: str) -> bytes:
    """The ``number``-th image of a run: its own patient, study and instance."""
    buffer = io.BytesIO()
    write_dicom(
        _image(number % _SEEDS),
        buffer,
        patient_id=f"BENCH-{run}-{number}",
        study_uid=synthetic_uid("benchmark", "study", run, number),
        series_uid=synthetic_uid("benchmark", "series", run, number),
        sop_uid=synthetic_uid("benchmark", "image", run, number),
    )
    return buffer.getvalue()


def images(count: int, run: str) -> list[bytes]:
    return [image_bytes(number, run) for number in range(count)]
