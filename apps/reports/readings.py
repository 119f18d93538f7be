"""Which version read a study, at which threshold, and who put it there: from a study, and back from a version.

For operators: hospitals, ids, versions and numbers, and nothing that names a patient.
"""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q

from apps.inference.models import Finding, InferenceJob, JobState
from apps.registry.models import Activation, ModelVersion
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx

# A page shows thresholds with three digits, so that is how they are asked for.
_HALF_A_DIGIT = 0.0005
MOST_STUDIES = 500


@dataclass(frozen=True)
class ReadBy:
    """One hospital's studies that were read so: how many, and the ids of the latest."""

    tenant: Tenant
    studies: int
    latest: list[UUID]


def studies_read_by(*, version: ModelVersion, label: str, threshold: float | None) -> list[ReadBy]:
    """Each hospital's studies that the version read, with this finding judged at this threshold where one is given."""
    found = []
    for tenant in Tenant.objects.order_by("name"):
        with tenant_tx(tenant.pk):
            findings = Finding.objects.filter(
                job__model_version=version, job__state=JobState.COMPLETE, label=label
            ).order_by("-job_id")
            if threshold is not None:
                findings = findings.filter(
                    threshold__gte=threshold - _HALF_A_DIGIT, threshold__lt=threshold + _HALF_A_DIGIT
                )
            studies = findings.aggregate(found=Count("job__study", distinct=True))["found"]
            latest = list(dict.fromkeys(findings.values_list("job__study_id", flat=True)[:MOST_STUDIES]))
        if studies:
            found.append(ReadBy(tenant, studies, latest))
    return found


@dataclass(frozen=True)
class Reading:
    """One look at a study: by which version, and the ledger's line that had put it there."""

    job: InferenceJob
    tenant: Tenant
    version: ModelVersion | None
    line: Activation | None


def readings_of(study_id: UUID) -> list[Reading]:
    """Every look at a study, newest first; asked for by its id alone, as the queue's role sees it."""
    jobs = InferenceJob.objects.using("dispatch").filter(study_id=study_id)
    seen = list(jobs.only("id", "tenant_id", "model_version_id", "state", "created", "finished").order_by("-id"))
    tenants = Tenant.objects.in_bulk([job.tenant_id for job in seen])
    versions = ModelVersion.objects.in_bulk([job.model_version_id for job in seen if job.model_version_id])
    found = []
    for job in seen:
        version = versions.get(job.model_version_id) if job.model_version_id else None
        tenant = tenants[job.tenant_id]
        found.append(Reading(job, tenant, version, _line(job, tenant, version)))
    return found


def _line(job: InferenceJob, tenant: Tenant, version: ModelVersion | None) -> Activation | None:
    """The last line before the job ended that let its version read for this hospital."""
    if version is None:
        return None
    lines = Activation.objects.filter(to_version=version, at__lte=job.finished or job.created)
    lines = lines.filter(act__in=Activation.LETS_READ)
    return lines.filter(Q(for_tenant=tenant) | Q(for_tenant=None)).first()
