"""Which version read a study: its thresholds, and the ledger entry that deployed it; from a study or from a version.

For operators: tenants, ids, versions and numbers, and nothing that identifies a patient.
"""

import contextlib
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from apps.core.work_queue import JobState
from apps.deployment.models import Activation, Deployment
from apps.inference.models import Finding, InferenceJob
from apps.registry.models import ModelVersion
from apps.studies.models import Study
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx

# Pages show thresholds with three digits, so a search matches the rounded value.
_HALF_A_DIGIT = 0.0005
MOST_STUDIES = 500


@dataclass(frozen=True)
class ReadBy:
    """One tenant's studies that match: their number, and the ids of the latest."""

    tenant: Tenant
    studies: int
    latest: list[UUID]


def studies_read_by(*, version: ModelVersion, label: str, threshold: float | None) -> list[ReadBy]:
    """Each tenant's studies that the version read, with this threshold for the finding where one is given."""
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
    """One reading of a study: the version, its thresholds, and the ledger entry that had deployed it."""

    job: InferenceJob
    tenant: Tenant
    version: ModelVersion | None
    entry: Activation | None
    thresholds: dict[str, float | None]


def find_study_ids(reference: str) -> list[UUID]:
    """The ids of the studies with this id or Study Instance UID; several tenants may have the same UID."""
    with contextlib.suppress(ValueError):
        return [UUID(reference)]
    found: list[UUID] = []
    for tenant in Tenant.objects.order_by("name"):
        with tenant_tx(tenant.pk):
            found += Study.objects.filter(study_instance_uid=reference).values_list("id", flat=True)
    return found


def readings_of(study_id: UUID) -> list[Reading]:
    """Every reading of a study, newest first; found by its id over all tenants, with the queue's database role."""
    jobs = InferenceJob.objects.using("dispatch").filter(study_id=study_id)
    seen = list(jobs.only("id", "tenant_id", "model_version_id", "state", "created", "finished").order_by("-id"))
    tenants = Tenant.objects.in_bulk([job.tenant_id for job in seen])
    versions = ModelVersion.objects.in_bulk([job.model_version_id for job in seen if job.model_version_id])
    found = []
    for job in seen:
        version = versions.get(job.model_version_id) if job.model_version_id else None
        tenant = tenants[job.tenant_id]
        with tenant_tx(tenant.pk):
            thresholds = dict(Finding.objects.filter(job=job.pk).order_by("label").values_list("label", "threshold"))
        found.append(Reading(job, tenant, version, _entry_that_deployed(job, tenant, version), thresholds))
    return found


def _entry_that_deployed(job: InferenceJob, tenant: Tenant, version: ModelVersion | None) -> Activation | None:
    """The last ledger entry before the job ended that let its version read for this tenant."""
    if version is None:
        return None
    entries = Activation.objects.filter(act__in=Activation.LETS_READ, at__lte=job.finished or job.created)
    # The rollback of a change of points deploys no version.
    entries = entries.exclude(undoes__act=Activation.Act.POINTS)
    pin = _pin(tenant, entries)
    if pin is not None and pin.to_version_id == version.pk:
        return pin
    of_version = entries.filter(to_version=version)
    own = of_version.filter(for_tenant=tenant).first() if pin else None
    return own or of_version.filter(Q(for_tenant=tenant) | Q(for_tenant=None)).first()


def _pin(tenant: Tenant, entries: "QuerySet[Activation]") -> Activation | None:
    """The last of these entries that pinned the tenant, if it was pinned then."""
    last = entries.filter(for_tenant=tenant).exclude(act=Activation.Act.CANARY).first()
    if last is None or last.act == Activation.Act.UNPINNED:
        return None
    after = Activation.objects.filter(for_tenant=tenant, number__gt=last.number).exclude(own_before=None).last()
    if after is not None:
        return last if after.own_before else None
    return last if Deployment.objects.filter(for_tenant=tenant).exists() else None
