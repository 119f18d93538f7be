"""From a registered version to a predictor: the same way for workers, web processes and the command line."""

from django.conf import settings

from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import fetch_artifact, forget_artifact


def load_version(version: ModelVersion, *, device: str, threads: int | None = None) -> "engine.Predictor":
    """Fetch a version to this machine, verify it and load it. May take minutes the first time.

    Args:
        device: auto, cpu or cuda.
        threads: bounds the CPU's lanes; None takes every core.

    Raises:
        ArtifactInvalid, PredictorUnavailable, OSError
    """
    try:
        return _load(version, device, threads)
    except engine.ArtifactInvalid:
        # Perhaps only this machine's copy is damaged: fetch it once more.
        forget_artifact(version)
        return _load(version, device, threads)


def _load(version: ModelVersion, device: str, threads: int | None) -> "engine.Predictor":
    return engine.load_predictor(
        fetch_artifact(version),
        device=device,  # type: ignore[arg-type]
        cache_dir=settings.MODEL_CACHE_DIR / "compiled",
        threads=threads,
    )
