"""Films for benchmarks: distinct instances of about 1 MB, uncompressed, as a CR or DX room sends them."""

import io
from functools import lru_cache

from ml.phantom import SyntheticFilm, generate, synthetic_uid, write_dicom

SIDE = 720  # 720 × 720 × 2 bytes = 1.04 MB
_SEEDS = 8


@lru_cache(maxsize=_SEEDS)
def _film(seed: int) -> SyntheticFilm:
    return generate(seed, size=SIDE)


def film_bytes(number: int, run: str) -> bytes:
    """The ``number``-th film of a run: its own patient, study and instance."""
    buffer = io.BytesIO()
    write_dicom(
        _film(number % _SEEDS),
        buffer,
        patient_id=f"BENCH-{run}-{number}",
        study_uid=synthetic_uid("benchmark", "study", run, number),
        series_uid=synthetic_uid("benchmark", "series", run, number),
        sop_uid=synthetic_uid("benchmark", "image", run, number),
    )
    return buffer.getvalue()


def films(count: int, run: str) -> list[bytes]:
    return [film_bytes(number, run) for number in range(count)]
