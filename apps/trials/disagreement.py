"""Queries for comparisons: results of a challenger and of the serving version, with the readers' verdicts.

Only administrators and operators see them. A clinician sees only the results of the serving version.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID

from django.db.models import Count, F, Min, Q

from apps.core.csv_text import as_csv
from apps.core.work_queue import JobState
from apps.deployment.models import Challenger
from apps.deployment.selectors import challenger_for
from apps.inference.models import Finding, InferenceJob, ShadowReading
from apps.reports.models import FindingReview, Verdict
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from apps.trials.canary import ReadingCounts, ShareCount, sum_counts
from apps.trials.comparison import MOST_STUDIES, Call, Comparison, Pair, compare_pairs

# In a comparison over all hospitals each one contributes an equal share of the studies, and at least this many.
FEWEST_OF_EACH = 50
_COLUMNS = (
    "case", "finding", "serving_probability", "serving_threshold", "serving_flagged",
    "challenger_probability", "challenger_threshold", "challenger_flagged", "agree", "reader_says_present",
)  # fmt: skip


def trials_of(tenant_id: UUID) -> list[Challenger]:
    """The trials that have read studies of the tenant in force, the running one first."""
    ids = set(ShadowReading.objects.order_by().values_list("challenger_id", flat=True).distinct())
    present = challenger_for(tenant_id)
    if present is not None:
        ids.add(present.pk)
    rows = Challenger.objects.filter(pk__in=ids).select_related("model_version", "against", "for_tenant")
    return sorted(rows, key=lambda row: (present is None or row.pk != present.pk, -row.since.timestamp()))


def pairs_of(challenger: Challenger, last: int = MOST_STUDIES) -> list[Pair]:
    """The latest studies of the tenant in force that both versions have read, newest first, each once."""
    rows = ShadowReading.objects.filter(challenger=challenger, state=JobState.COMPLETE).select_related("job__study")
    rows = rows.only("probabilities", "thresholds", "job__study_id")
    newest: dict[UUID, ShadowReading] = {}
    for row in rows.order_by("-id")[:last]:
        newest.setdefault(row.job.study_id, row)
    jobs = [row.job_id for row in newest.values()]
    serving_calls: dict[UUID, dict[str, Call]] = {job_id: {} for job_id in jobs}
    recalibrated = InferenceJob.objects.filter(pk__in=jobs, recalibration__isnull=False)
    recalibrations = {job.pk: job.recalibration for job in recalibrated.select_related("recalibration")}
    for job_id, label, probability, threshold in Finding.objects.filter(job__in=jobs).values_list(
        "job_id", "label", "probability", "threshold"
    ):
        if (used := recalibrations.get(job_id)) is not None:
            # Both versions are compared by what they say themselves.
            probability = used.of_version(label, probability)
            threshold = None if threshold is None else used.of_version(label, threshold)
        serving_calls[job_id][label] = Call(probability, threshold)
    verdicts = _verdicts(jobs)
    return [
        Pair(
            study_id=study_id,
            serving=dict(sorted(serving_calls[row.job_id].items())),
            challenger={label: Call(value, row.thresholds[label]) for label, value in row.probabilities.items()},
            present=verdicts.get(row.job_id, {}),
        )
        for study_id, row in newest.items()
    ]


def _verdicts(jobs: list[UUID]) -> dict[UUID, dict[str, bool]]:
    """Whether readers call each finding present; to agree means to confirm the serving version's result."""
    found: dict[UUID, dict[str, bool]] = {}
    reviews = FindingReview.objects.filter(finding__job__in=jobs)
    for job_id, label, positive, verdict in reviews.values_list(
        "finding__job_id", "finding__label", "finding__positive", "verdict"
    ):
        found.setdefault(job_id, {})[label] = positive == (verdict == Verdict.AGREE)
    return found


def comparison_of(challenger: Challenger) -> Comparison:
    """The comparison of a trial in the tenant in force."""
    return compare_pairs(pairs_of(challenger), **_others(challenger))


def _others(challenger: Challenger) -> dict[str, int]:
    states = ShadowReading.objects.filter(challenger=challenger).order_by().values_list("state").annotate(Count("id"))
    counts = dict(states)
    return {
        "refused": counts.get(JobState.REJECTED, 0),
        "failed": counts.get(JobState.FAILED, 0),
        "waiting": counts.get(JobState.QUEUED, 0) + counts.get(JobState.RUNNING, 0),
    }


def canary_of(challenger: Challenger) -> list[ShareCount]:
    """Counts of a canary and of the serving version, since the canary's first study for the tenant in force."""
    sides = {challenger.against_id: "serving", challenger.model_version_id: "canary"}
    jobs = InferenceJob.objects.filter(state=JobState.COMPLETE, model_version__in=sides, finished__gte=challenger.since)
    if challenger.ended:
        jobs = jobs.filter(finished__lte=challenger.ended)
    first = jobs.filter(model_version=challenger.model_version_id).aggregate(first=Min("finished"))["first"]
    if first is None:
        return []
    findings = Finding.objects.filter(job__in=jobs.filter(finished__gte=first), threshold__isnull=False)
    rows = (
        findings.order_by("label")
        .values("label", side=F("job__model_version"))
        .annotate(
            n=Count("id"),
            flagged=Count("id", filter=Q(positive=True)),
            reviewed=Count("reviews"),
            agreed=Count("reviews", filter=Q(reviews__verdict=Verdict.AGREE)),
        )
    )
    found: dict[str, dict[str, ReadingCounts]] = {}
    for row in rows:
        counts = ReadingCounts(row["n"], row["flagged"], row["reviewed"], row["agreed"])
        found.setdefault(row["label"], {})[sides[row["side"]]] = counts
    return [
        ShareCount(label, each.get("serving", ReadingCounts()), each.get("canary", ReadingCounts()))
        for label, each in found.items()
    ]


def canary_of_all_tenants(challenger: Challenger) -> list[ShareCount]:
    """`canary_of` over all hospitals that the canary read for; called outside any tenant."""
    rows = InferenceJob.objects.using("dispatch").filter(model_version_id=challenger.model_version_id).order_by()
    counts: list[ShareCount] = []
    for tenant_id in set(rows.values_list("tenant_id", flat=True).distinct()):
        with tenant_tx(tenant_id):
            counts += canary_of(challenger)
    return sum_counts(counts)


def comparison_of_all_tenants(challenger: Challenger) -> tuple[Comparison, dict[Tenant, list[Pair]]]:
    """The comparison of a trial over all its hospitals, and each one's disputed studies; called outside any tenant."""
    pairs: list[Pair] = []
    others = dict.fromkeys(("refused", "failed", "waiting"), 0)
    disputed: dict[Tenant, list[Pair]] = {}
    rows = ShadowReading.objects.using("dispatch").filter(challenger=challenger).order_by()
    tenants = Tenant.objects.filter(pk__in=set(rows.values_list("tenant_id", flat=True).distinct())).order_by("name")
    share = max(FEWEST_OF_EACH, MOST_STUDIES // max(1, len(tenants)))
    for tenant in tenants:
        with tenant_tx(tenant.pk):
            own = pairs_of(challenger, share)
            for name, number in _others(challenger).items():
                others[name] += number
        pairs += own
        if own:
            disputed[tenant] = [pair for pair in own if pair.disputed]
    return compare_pairs(pairs, **others), disputed


def pairs_as_csv(pairs: Iterable[Pair], label: str = "") -> str:
    """The findings that both versions read, as CSV, of all labels or of one.

    A study appears as a case number, counted from the newest, so that the table identifies no patient.
    """
    return as_csv(_COLUMNS, _rows(pairs, label))


def _rows(pairs: Iterable[Pair], label: str) -> Iterator[list[object]]:
    for case, pair in enumerate(pairs, start=1):
        for name in [label] if label else pair.serving:
            if name in pair.challenger and name in pair.serving:
                one, other = pair.serving[name], pair.challenger[name]
                agree = None if None in (one.flagged, other.flagged) else not pair.differs(name)
                yield [case, name, *_cells(one), *_cells(other), agree, pair.present.get(name)]


def _cells(call: Call) -> tuple[object, ...]:
    return call.probability, call.threshold, call.flagged
