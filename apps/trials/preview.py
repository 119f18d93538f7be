"""Previews: a candidate reads a tenant's latest studies once more, and only counts are kept."""

from collections.abc import Callable, Sequence
from contextlib import closing

from django.conf import settings

from apps.audit.services import Actor
from apps.core.errors import ConflictError, UnavailableError
from apps.deployment.models import SwitchPreview
from apps.deployment.selectors import version_for
from apps.inference.loading import load_version
from apps.inference.reader import ImageReader, ImageReading, ReadingFailure
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from apps.trials.preview_report import PairedProbabilities
from apps.trials.recent import RecentReading, recent_readings
from apps.trials.services import store_preview

PROGRESS_EVERY = 16


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
    serving, probabilities = read_with_candidate(tenant=tenant, version=version, last=last, progress=progress)
    return store_preview(tenant=tenant, from_version=serving, to_version=version, probabilities=probabilities, by=by)


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
        current={label: [each.probabilities[label] for each, _ in both] for label in serving.manifest["labels"]},
        candidate={label: [found[label] for _, found in both] for label in version.manifest["labels"]},
        studies=len(both),
        refused=len(readings) - len(both),
    )


def _read_again(
    version: ModelVersion, readings: Sequence[RecentReading], progress: Callable[[int, int], None]
) -> list[dict[str, float] | None]:
    """The candidate's probabilities for each study; None where it refuses the image."""
    try:
        predictor = load_version(version, device=settings.INFERENCE_DEVICE)
    except (engine.ArtifactInvalid, engine.PredictorUnavailable, OSError) as error:
        raise UnavailableError(f"{version} cannot be loaded: {error}", "version-unusable") from error
    found: list[dict[str, float] | None] = []
    progress(0, len(readings))
    images = (ImageReading(instance=each.instance, stored_size=each.instance.shape) for each in readings)
    with closing(ImageReader(engine.Sandbox(workers=settings.DECODER_PROCESSES))) as reader:
        for reading in reader.read(images, predictor, batch=settings.INFERENCE_BATCH_SIZE):
            if reading.failure is not None:
                raise _failed(reading.failure)
            found.append(reading.probabilities or None)
            if len(found) % PROGRESS_EVERY == 0 or len(found) == len(readings):
                progress(len(found), len(readings))
    return found


def _failed(failure: ReadingFailure) -> UnavailableError:
    """The job of the preview waits or uses an attempt by the code, as a reading of the study would."""
    return UnavailableError(f"A stored film could not be read: {failure.detail}", failure.code)
