"""What a challenger and the serving version said of the same studies of the tenant in force, and what readers said.

For administrators and operators alone: a clinician is shown one reading, that of the version that serves.
"""

import csv
import io
from collections.abc import Iterable
from uuid import UUID

from django.db.models import Count, F, Min, Q

from apps.deployment.models import Challenger
from apps.deployment.selectors import challenger_for
from apps.inference.models import Finding, InferenceJob, JobState, ShadowReading
from apps.reports.models import FindingReview, Verdict
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from apps.trials.canary import ReadingCounts, ShareCount, sum_counts
from apps.trials.comparison import MOST_STUDIES, Call, Comparison, Pair, compare_pairs

# Over all hospitals each one has an equal share of the studies that are compared, and this many at least.
FEWEST_OF_EACH = 50
_COLUMNS = (
    "case", "finding", "serving_probability", "serving_threshold", "serving_flagged",
    "challenger_probability", "challenger_threshold", "challenger_flagged", "agree", "reader_says_present",
)  # fmt: skip


def trials_of(tenant_id: UUID) -> list[Challenger]:
    """The trials that the tenant in force has seen, the present one first."""
    ids = set(ShadowReading.objects.order_by().values_list("challenger_id", flat=True).distinct())
    present = challenger_for(tenant_id)
    if present is not None:
        ids.add(present.pk)
    rows = Challenger.objects.filter(pk__in=ids).select_related("model_version", "against", "for_tenant")
    return sorted(rows, key=lambda row: (present is None or row.pk != present.pk, -row.since.timestamp()))


def pairs_of(challenger: Challenger, last: int = MOST_STUDIES) -> list[Pair]:
    """The latest studies of the tenant in force that both have read, newest first, each once."""
    rows = ShadowReading.objects.filter(challenger=challenger, state=JobState.COMPLETE).select_related("job__study")
    rows = rows.only("probabilities", "thresholds", "job__study_id")
    newest: dict[UUID, ShadowReading] = {}
    for row in rows.order_by("-id")[:last]:
        newest.setdefault(row.job.study_id, row)
    jobs = [row.job_id for row in newest.values()]
    said: dict[UUID, dict[str, Call]] = {job_id: {} for job_id in jobs}
    for job_id, label, probability, threshold in Finding.objects.filter(job__in=jobs).values_list(
        "job_id", "label", "probability", "threshold"
    ):
        said[job_id][label] = Call(probability, threshold)
    words = _verdicts(jobs)
    return [
        Pair(
            study_id=study_id,
            serving=dict(sorted(said[row.job_id].items())),
            challenger={label: Call(value, row.thresholds[label]) for label, value in row.probabilities.items()},
            present=words.get(row.job_id, {}),
        )
        for study_id, row in newest.items()
    ]


def _verdicts(jobs: list[UUID]) -> dict[UUID, dict[str, bool]]:
    """Whoever agrees with a finding calls it what the serving version called it."""
    found: dict[UUID, dict[str, bool]] = {}
    reviews = FindingReview.objects.filter(finding__job__in=jobs)
    for job_id, label, positive, verdict in reviews.values_list(
        "finding__job_id", "finding__label", "finding__positive", "verdict"
    ):
        found.setdefault(job_id, {})[label] = positive == (verdict == Verdict.AGREE)
    return found


def comparison_of(challenger: Challenger) -> Comparison:
    """What is known of a trial in the tenant in force."""
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
    """What a canary and the serving version flagged since it read its first study for the tenant in force."""
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
            judged=Count("reviews"),
            agreed=Count("reviews", filter=Q(reviews__verdict=Verdict.AGREE)),
        )
    )
    found: dict[str, dict[str, ReadingCounts]] = {}
    for row in rows:
        counts = ReadingCounts(row["n"], row["flagged"], row["judged"], row["agreed"])
        found.setdefault(row["label"], {})[sides[row["side"]]] = counts
    return [
        ShareCount(label, each.get("serving", ReadingCounts()), each.get("canary", ReadingCounts()))
        for label, each in found.items()
    ]


def canary_of_all_tenants(challenger: Challenger) -> list[ShareCount]:
    """The same over all hospitals in which it may read; asked for outside any tenant."""
    rows = InferenceJob.objects.using("dispatch").filter(model_version_id=challenger.model_version_id).order_by()
    counts: list[ShareCount] = []
    for tenant_id in set(rows.values_list("tenant_id", flat=True).distinct()):
        with tenant_tx(tenant_id):
            counts += canary_of(challenger)
    return sum_counts(counts)


def comparison_of_all_tenants(challenger: Challenger) -> tuple[Comparison, dict[Tenant, list[Pair]]]:
    """A trial over all hospitals in which it ran, and each one's disputed studies; asked for outside any tenant."""
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


def as_csv(pairs: Iterable[Pair], label: str = "") -> str:
    """Each finding that both read, of every study or of one label.

    A study is a case number, counted from the newest: who reads the comparison need not know which patient it was.
    Every cell is one of our own labels, a number or a yes or no, so no cell can be a spreadsheet's formula.
    """
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for case, pair in enumerate(pairs, start=1):
        for name in [label] if label else pair.serving:
            if name in pair.challenger and name in pair.serving:
                one, other = pair.serving[name], pair.challenger[name]
                agree = "" if None in (one.flagged, other.flagged) else not pair.differs(name)
                rows.writerow([case, name, *_cells(one), *_cells(other), agree, pair.present.get(name, "")])
    return text.getvalue()


def _cells(call: Call) -> tuple[object, ...]:
    return (
        f"{call.probability:.6f}",
        "" if call.threshold is None else f"{call.threshold:.6f}",
        "" if call.flagged is None else call.flagged,
    )
