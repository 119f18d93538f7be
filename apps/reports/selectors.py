"""Reading reports, verdicts and heatmaps of the tenant in force."""

from collections.abc import Iterable

from apps.inference.models import Finding, HeatmapGrids, InferenceJob
from apps.inference.selectors import Heatmap, maps_on_the_picture
from apps.inference.warnings import knows_its_sides
from apps.registry import engine
from apps.reports.models import FindingReview, Report
from apps.studies.models import Study


def report_of(study: Study) -> Report | None:
    """The study's report, with the reading that it is about and its signer."""
    return (
        Report.objects.filter(study=study)
        .select_related("study__patient", "study__tenant", "job__model_version", "job__instance", "signed_by")
        .first()
    )


def reviews_of(job: InferenceJob) -> dict[str, FindingReview]:
    """The reader's verdicts on a job's findings, by label."""
    reviews = FindingReview.objects.filter(finding__job=job).select_related("finding", "reader")
    return {review.finding.label: review for review in reviews}


def heatmaps_of(job: InferenceJob, findings: Iterable[Finding]) -> dict[str, Heatmap]:
    """The maps of some of a job's findings, by label; empty where none can be drawn.

    Unlike ``get_heatmap`` it does not ask whether the job is the study's latest: a report shows its own reading.
    """
    grids = HeatmapGrids.objects.filter(job=job).first()
    if grids is None or job.instance is None or job.model_version is None:
        return {}
    manifest = engine.Manifest.from_dict(job.model_version.manifest)
    cams, geometry = maps_on_the_picture(job, grids, manifest.input_space)
    return {
        finding.label: Heatmap(
            finding=finding,
            instance=job.instance,
            grid=cams[manifest.labels.index(finding.label)],
            scale=manifest.cam_scale[finding.label],
            geometry=geometry,
            opacity=engine.opacity(finding.probability, finding.threshold),
            knows_its_sides=knows_its_sides(job),
        )
        for finding in findings
    }
