"""What holds after every fault: the client's log against rows, objects, results and audit.

A fault test keeps a log of what the product accepted, lets the fault happen, waits until nothing is left to do, and
calls ``broken_invariants``.
"""

from collections.abc import Collection, Iterator

from django.conf import settings
from django.db.models import Count, Q

from apps.audit.models import AuditEvent
from apps.core.work_queue import OPEN_STATES, JobState
from apps.inference.models import HeatmapGrids, InferenceJob
from apps.reports.models import ReportDraft
from apps.studies.models import Instance, Study
from apps.studies.storage import matches_key
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from tests.conftest import Hospital


def broken_invariants(hospital: Hospital, accepted: Collection[str], *, all_read: bool = True) -> list[str]:
    """Every invariant that a hospital's data break, in words; nothing where all hold.

    Args:
        accepted: the SOPInstanceUIDs that the product answered with success.
        all_read: whether no reading may be waiting or running any more.
    """
    with tenant_tx(hospital.tenant.id):
        return [*_rows(accepted), *_objects(), *_results(all_read), *_audit()]


def _rows(accepted: Collection[str]) -> Iterator[str]:
    stored = set(Instance.objects.values_list("sop_instance_uid", flat=True))
    for uid in sorted(set(accepted) - stored):
        yield f"{uid} was answered with success and has no row"
    for study in Study.objects.annotate(images=Count("series__instances")).filter(images=0):
        yield f"study {study.pk} has no instance: it was stored by half"


def _objects() -> Iterator[str]:
    for instance in Instance.objects.all():
        try:
            is_whole = matches_key(instance.object_key)
        except FileNotFoundError:
            yield f"the object of {instance.sop_instance_uid} is missing"
        else:
            if not is_whole:
                yield f"the object of {instance.sop_instance_uid} is not what was sent"


def _results(all_read: bool) -> Iterator[str]:
    for study in Study.objects.filter(jobs=None):
        yield f"study {study.pk} was never queued"
    for job in InferenceJob.objects.annotate(found=Count("findings")):
        if job.state in OPEN_STATES:
            if all_read:
                yield f"job {job.pk} is still {job.state}"
        elif job.state == JobState.COMPLETE and job.found != len(LABELS):
            yield f"job {job.pk} has {job.found} findings"
        elif job.state != JobState.COMPLETE and (job.found or not job.reason):
            yield f"job {job.pk} is {job.state} with {job.found} findings and the reason {job.reason!r}"
    complete = InferenceJob.objects.filter(state=JobState.COMPLETE)
    without_maps = complete.exclude(pk__in=HeatmapGrids.objects.values("job"))
    for job in without_maps:
        yield f"job {job.pk} has no heatmaps"
    for study in Study.objects.filter(pk__in=complete.values("study")).exclude(
        pk__in=ReportDraft.objects.values("study")
    ):
        yield f"study {study.pk} has a result and no report draft"
    opened = Count("jobs", filter=Q(jobs__state__in=OPEN_STATES))
    for study in Study.objects.annotate(opened=opened).filter(opened__gt=1):
        yield f"study {study.pk} is read twice at once"


def _audit() -> Iterator[str]:
    recorded = list(
        AuditEvent.objects.filter(action=AuditEvent.Action.INSTANCE_STORED).values_list("object_id", flat=True)
    )
    rows = set(Instance.objects.values_list("pk", flat=True))
    for instance in sorted(rows - set(recorded), key=str):
        yield f"the arrival of instance {instance} was not recorded"
    if len(recorded) != len(set(recorded)):
        yield "an arrival was recorded twice"
    for instance in sorted(set(recorded) - rows, key=str):
        yield f"the arrival of instance {instance} was recorded, and it has no row"


def spool_leftovers() -> list[str]:
    """Folders that a request or an association left in the spool; nothing once all have ended."""
    return [each.name for each in settings.SPOOL_DIR.iterdir() if each.is_dir() and any(each.iterdir())]
