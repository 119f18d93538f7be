"""Selectors for jobs and results of the tenant in force, and for workers and the queue."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.db.models import Min, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext
from numpy.typing import NDArray

from apps.core.errors import NotFoundError
from apps.core.work_queue import JobState
from apps.inference.leases import QUEUES, READINGS
from apps.inference.models import Finding, HeatmapGrids, InferenceJob, Worker
from apps.inference.stored_texts import zone_text
from apps.inference.warnings import has_known_sides
from apps.registry import engine
from apps.studies.models import Instance, Study

RECEIVED = "received"
STUDY_STATUSES = (RECEIVED, *JobState.values)


def latest_job(study: Study) -> InferenceJob | None:
    """The latest job of a study, which determines its status."""
    return (
        InferenceJob.objects.filter(study=study)
        .select_related("model_version", "instance", "recalibration")
        .prefetch_related("findings")
        .order_by("-id")
        .first()
    )


def latest_jobs(study_ids: Sequence[UUID], *, with_findings: bool = True) -> dict[UUID, InferenceJob]:
    """The latest job of each study that has one, with its findings unless they are not wanted, by study."""
    latest = (
        InferenceJob.objects.filter(study_id__in=study_ids)
        .order_by("study_id", "-id")
        .distinct("study_id")
        # The manifest of a version is large and not needed here.
        .select_related("model_version", "instance")
        .defer("model_version__manifest")
        .prefetch_related(*["findings"] if with_findings else [])
    )
    return {job.study_id: job for job in latest}


@dataclass(frozen=True)
class Heatmap:
    """The data to draw one finding's map: the grid in logits, and the fixed scale of the version that computed it.

    ``inside`` is the share of each cell inside the thorax; None in jobs from before it was measured.
    """

    finding: Finding
    instance: Instance
    grid: NDArray[np.float16]
    scale: "engine.CamScale"
    geometry: "engine.Geometry"
    opacity: float
    inside: NDArray[np.float16] | None = None
    has_known_sides: bool = True

    @property
    def is_outside(self) -> bool:
        """Whether the strongest contribution lies outside the lungs."""
        return bool(engine.zone(self.grid, self.scale, self.inside) == engine.OUTSIDE)

    @property
    def zone(self) -> str | None:
        """The name of the zone with the strongest contribution; None where there is none or the sides are unknown."""
        return zone_text(engine.zone(self.grid, self.scale, self.inside)) if self.has_known_sides else None


def get_heatmap(*, study: Study, label: str) -> Heatmap:
    """The map of one pathology in the study's latest result.

    Raises:
        NotFoundError: there is no such result.
    """
    job = latest_job(study)
    finding = next((each for each in job.findings.all() if each.label == label), None) if job else None
    grids = HeatmapGrids.objects.filter(job=job).first() if finding else None
    if job is None or finding is None or grids is None or job.instance is None or job.model_version is None:
        raise NotFoundError(gettext("This study has no heatmap of that name."), "heatmap-not-found")
    manifest = engine.Manifest.from_dict(job.model_version.manifest)
    maps = displayed_maps(job, grids, manifest)
    return Heatmap(
        finding=finding,
        instance=job.instance,
        grid=maps.cams[manifest.labels.index(label)],
        scale=manifest.cam_scale[label],
        geometry=maps.geometry,
        opacity=engine.opacity(finding.probability, finding.threshold),
        inside=maps.inside,
        has_known_sides=has_known_sides(job),
    )


@dataclass(frozen=True)
class DisplayedMaps:
    """A job's maps (labels, rows, columns) in logits, the geometry of the displayed image in the model's input, and the
    share of each cell inside the thorax, or None."""

    cams: NDArray[np.float16]
    geometry: "engine.Geometry"
    inside: NDArray[np.float16] | None


def displayed_maps(job: InferenceJob, grids: HeatmapGrids, manifest: "engine.Manifest") -> DisplayedMaps:
    """A job's maps as they lie on the displayed image.

    Jobs from before images were turned have maps of the stored image; they are turned here, as the image is.
    """
    assert job.instance is not None
    planes = np.frombuffer(grids.data, dtype="<f2").reshape(-1, grids.grid_rows, grids.grid_columns)
    shape, space = (job.picture_rows, job.picture_columns), manifest.input_space
    if shape[0] is not None and shape[1] is not None:
        geometry = engine.Geometry.of(shape[0], shape[1], space)
    else:
        turn, _ = engine.read_orientation(job.instance.attributes.get("PatientOrientation", ""))
        planes = np.stack([turn.apply(plane) for plane in planes])
        geometry = engine.Geometry.of(*turn.size(*job.instance.shape), space)
    labels = len(manifest.labels)
    return DisplayedMaps(planes[:labels], geometry, planes[labels] if len(planes) > labels else None)


def live_workers() -> "QuerySet[Worker]":
    """Workers that reported within the last half minute."""
    return Worker.objects.filter(last_seen__gt=Now() - datetime.timedelta(seconds=30))


def serving_workers() -> "QuerySet[Worker]":
    """Live workers that have a model loaded."""
    return live_workers().filter(model_version__isnull=False)


def refusing_workers() -> int:
    """How many live workers cannot load a version that they need."""
    return live_workers().filter(versions__contains=[{"state": "refused"}]).count()


def suspects_wait() -> bool:
    """Whether a job, or a shadow reading, waits to be read alone because its worker died."""
    return any(queue.due().filter(is_suspect=True).exists() for queue in QUEUES)


def oldest_outage() -> tuple[str, int] | None:
    """The reason of the job that waits longest for the end of an outage, and the number of jobs that wait for one."""
    waiting = InferenceJob.objects.using("dispatch").filter(state=JobState.QUEUED).exclude(reason_code="")
    first = waiting.order_by("waiting_since").values_list("reason", flat=True).first()
    return (first, waiting.count()) if first is not None else None


def waiting_jobs(older_than: datetime.timedelta = datetime.timedelta(0)) -> int:
    """The number of jobs of all tenants that have waited longer than a time."""
    return READINGS.due().filter(created__lte=Now() - older_than).count()


def waiting_since() -> datetime.datetime | None:
    """When the oldest job that waits was queued; None where none waits."""
    waiting = InferenceJob.objects.using("dispatch").filter(state=JobState.QUEUED)
    return waiting.aggregate(at=Min("created"))["at"]


def jobs_by_state() -> dict[str, int]:
    """The number of jobs of all tenants by state."""
    counts = dict.fromkeys(JobState.values, 0)
    states = InferenceJob.objects.using("dispatch").values_list("state", flat=True)
    for state in JobState.values:
        counts[state] = states.filter(state=state).count()
    return counts
