"""Previews: a candidate reads a tenant's latest studies once more, and only counts are kept."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from apps.audit.services import Actor
from apps.core.errors import ConflictError, ObjectLostError, UnavailableError
from apps.deployment.models import SwitchPreview
from apps.deployment.selectors import version_for
from apps.inference.loading import load_version
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.studies.storage import local_path
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from apps.trials.preview_report import PairedProbabilities
from apps.trials.recent import RecentReading, recent_readings
from apps.trials.services import store_preview

BATCH = 16


def preview_switch(
    *,
    tenant: Tenant,
    version: ModelVersion,
    last: int,
    by: Actor,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> SwitchPreview:
    """Let a candidate read the tenant's last studies, and store what would change.

    Raises:
        ConflictError, UnavailableError: as `read_with_candidate`.
    """
    serving, read = read_with_candidate(tenant=tenant, version=version, last=last, progress=progress)
    return store_preview(tenant=tenant, from_version=serving, to_version=version, read=read, by=by)


def read_with_candidate(
    *, tenant: Tenant, version: ModelVersion, last: int, progress: Callable[[int, int], None]
) -> tuple[ModelVersion, PairedProbabilities]:
    """Read the tenant's last studies with a candidate.

    Args:
        last: the number of studies.
        progress: called with the number of studies read so far and in all.

    Returns:
        The serving version, and both versions' probabilities on the studies that the candidate did not refuse.

    Raises:
        ConflictError: the candidate serves already or is retired, or no study was read by the serving version.
        UnavailableError: the candidate cannot be loaded, or the storage does not answer.
    """
    serving = version_for(tenant.pk)
    if serving is None or serving == version:
        raise ConflictError(f"There is nothing to compare: {serving or 'no version'} serves {tenant}.")
    if version.retired is not None:
        raise ConflictError(f"{version} is retired: it must not read again.", "version-retired")
    with tenant_tx(tenant.pk):
        readings = recent_readings(version=serving, last=last)
    if not readings:
        raise ConflictError(f"{serving} has read no study of {tenant} yet: there is nothing to compare.")
    again = _read_again(version, readings, progress)
    both = [(each, found) for each, found in zip(readings, again, strict=True) if found is not None]
    return serving, PairedProbabilities(
        former={label: [each.probabilities[label] for each, _ in both] for label in serving.manifest["labels"]},
        candidate={label: [found[label] for _, found in both] for label in version.manifest["labels"]},
        studies=len(both),
        refused=len(readings) - len(both),
    )


def _read_again(
    version: ModelVersion, readings: Sequence[RecentReading], progress: Callable[[int, int], None]
) -> list[dict[str, float] | None]:
    """The candidate's probabilities for each study; None where it refuses the film."""
    try:
        predictor = load_version(version, device=settings.INFERENCE_DEVICE)
    except (engine.ArtifactInvalid, engine.PredictorUnavailable, OSError) as error:
        raise UnavailableError(f"{version} cannot be loaded: {error}", "version-unusable") from error
    found: list[dict[str, float] | None] = []
    progress(0, len(readings))
    with engine.Sandbox(workers=settings.DECODER_PROCESSES) as sandbox:
        for first in range(0, len(readings), BATCH):
            found += _read_batch(predictor, sandbox, readings[first : first + BATCH])
            progress(len(found), len(readings))
    return found


def _read_batch(
    predictor: engine.Predictor, sandbox: engine.Sandbox, readings: Sequence[RecentReading]
) -> list[dict[str, float] | None]:
    squares = _decoded(predictor, sandbox, readings)
    seen = [index for index, square in enumerate(squares) if square is not None]
    found: list[dict[str, float] | None] = [None] * len(readings)
    if seen:
        prediction = predictor.predict(np.stack([square for square in squares if square is not None]))
        probabilities = predictor.probabilities(prediction)
        for row, (index, gate) in enumerate(zip(seen, predictor.check_features(prediction), strict=True)):
            if gate.accepted:
                found[index] = dict(zip(predictor.manifest.labels, map(float, probabilities[row]), strict=True))
    return found


def _decoded(
    predictor: engine.Predictor, sandbox: engine.Sandbox, readings: Sequence[RecentReading]
) -> list[NDArray[np.uint8] | None]:
    space = predictor.manifest.input_space.to_dict()
    squares: list[NDArray[np.uint8] | None] = []
    with ExitStack() as copies:
        decodings: list[Future[engine.LoadedInput] | None] = []
        for reading in readings:
            try:
                path = copies.enter_context(local_path(reading.instance.object_key))
            except ObjectLostError:
                decodings.append(None)
            except OSError as error:
                raise UnavailableError(f"A stored film could not be read ({type(error).__name__}).") from error
            else:
                decodings.append(sandbox.submit(engine.load_input, path, space))
        for decoding in decodings:
            if decoding is None:
                squares.append(None)
                continue
            try:
                squares.append(decoding.result().tensor_u8)
            except engine.InputRejected as error:
                if error.code in engine.RETRYABLE:
                    raise UnavailableError(f"A stored film could not be read: {error.detail}") from error
                squares.append(None)
    return squares
