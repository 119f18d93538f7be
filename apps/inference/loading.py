"""Loads and verifies the predictor of a registered version, for workers, web processes and the command line."""

from pathlib import Path

from django.conf import settings

from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import fetch_artifact, forget_artifact


def load_version(version: ModelVersion, *, device: str, threads: int | None = None) -> "engine.Predictor":
    """Fetch a version to this machine, load it, and verify its files, its identity and its output for the golden image.

    It may take minutes the first time.

    Args:
        device: auto, cpu or cuda.
        threads: the number of CPU threads; None uses every core.

    Raises:
        ArtifactInvalid: the stored artifact must not be served.
        PredictorUnavailable, UnavailableError, OSError
    """
    try:
        return _load(version, device, threads)
    except engine.ArtifactInvalid as error:
        # Perhaps only this machine's copies are damaged: fetch again, and export again where the golden image differed.
        forget_artifact(version)
        if error.code == "golden-mismatch":
            engine.remove_exported(engine.Manifest.from_dict(version.manifest), _compiled())
        return _load(version, device, threads)


def _load(version: ModelVersion, device: str, threads: int | None) -> "engine.Predictor":
    predictor = engine.load_predictor(
        fetch_artifact(version),
        device=device,  # type: ignore[arg-type]
        cache_dir=_compiled(),
        threads=threads,
    )
    if predictor.artifact.sha256 != version.sha256:
        raise engine.ArtifactInvalid("identity-mismatch", "Register the stored artifact as a version of its own.")
    predictor.verify()
    return predictor


def _compiled() -> Path:
    return settings.MODEL_CACHE_DIR / "compiled"
