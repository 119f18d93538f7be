"""The dashboards' tables as CSV. The names of the columns are a contract: add new ones at the end."""

from collections.abc import Callable, Mapping, Sequence

from apps.core.csv_text import as_csv
from apps.deployment.drift_charts import MOST_WEEKS
from apps.deployment.models import DriftWeek
from apps.deployment.selectors import version_for
from apps.quality.dashboard.activity import Times, activity
from apps.quality.dashboard.agreement import Agreement, agreement_by_label, agreement_by_step
from apps.quality.dashboard.alerts import AlertRate, alerts_by_step, alerts_by_version
from apps.quality.dashboard.scope import Scope
from apps.tenants.models import Tenant

Row = Sequence[object]
_RATE = ("studies", "flagged", "share", "low", "high")


def volume_table(scope: Scope, tenant: Tenant) -> str:
    """The studies that arrived within each step, by what became of them."""
    columns = ("from", "to", "received", "read", "not_read", "failed", "waiting", "signed")
    return as_csv(
        columns,
        (
            (*scope.days_of(start), of.received, of.read, of.refused, of.failed, of.waiting, of.signed)
            for start, of in ((start, each.volume) for start, each in activity(scope)[0].items())
        ),
    )


def turnaround_table(scope: Scope, tenant: Tenant) -> str:
    """Seconds from the arrival."""
    columns = (
        "from", "to", "results", "result_median_s", "result_p90_s", "signatures", "signature_median_s",
        "signature_p90_s",
    )  # fmt: skip
    return as_csv(
        columns,
        (
            (*scope.days_of(start), *_seconds(each.result), *_seconds(each.signature))
            for start, each in activity(scope)[0].items()
        ),
    )


def alert_table(scope: Scope, tenant: Tenant) -> str:
    """The alert rate by version and finding; ``any`` for any finding."""
    columns = ("version", "finding", *_RATE, "expected", "outside_control_limits", "compared_week")
    rows: list[Row] = []
    for each in alerts_by_version(scope, tenant):
        for rate in each.rates:
            outside = "" if rate.expected is None else rate.is_outside
            rows.append((str(each.version), rate.label, *_rate(rate), rate.expected, outside, each.week))
    return as_csv(columns, rows)


def alert_step_table(scope: Scope, tenant: Tenant) -> str:
    """The studies with any flagged finding, over time."""
    steps = alerts_by_step(scope).items()
    return as_csv(("from", "to", *_RATE), ((*scope.days_of(start), *_rate(each)) for start, each in steps))


_VERDICTS = ("verdicts", "agreed", "disagreed", "corrected", "added", "share", "low", "high", "flagged", "confirmed")


def agreement_table(scope: Scope, tenant: Tenant) -> str:
    """The verdicts by finding; ``all`` for all of them."""
    rows = ((each.label or "all", *_verdicts(each)) for each in agreement_by_label(scope))
    return as_csv(("finding", *_VERDICTS), rows)


def agreement_step_table(scope: Scope, tenant: Tenant) -> str:
    steps = agreement_by_step(scope).items()
    return as_csv(("from", "to", *_VERDICTS), ((*scope.days_of(start), *_verdicts(each)) for start, each in steps))


def drift_table(scope: Scope, tenant: Tenant) -> str:
    """The latest weeks of the version in service, as *Drift* counts them: one line for each compared figure."""
    columns = ("version", "week", "films_read", "films_refused", "figure", "finding", "value", "expected", "p_value",
               "outside_control_limits")  # fmt: skip
    version = version_for(tenant.pk)
    rows: list[Row] = []
    for week in DriftWeek.objects.filter(for_tenant=tenant, model_version=version)[:MOST_WEEKS]:
        outside = {(each["what"], each["label"]) for each in week.alarms}
        begin = (str(version), week.week, week.read, week.refused)
        rows += [
            (*begin, each["what"], each["label"], each["value"], each["expected"], f"{each['p_value']:.3g}",
             (each["what"], each["label"]) in outside)
            for each in week.figures
        ] or [(*begin, "", "", "", "", "", "")]  # fmt: skip
    return as_csv(columns, rows)


TABLES: Mapping[str, Callable[[Scope, Tenant], str]] = {
    "volume": volume_table,
    "turnaround": turnaround_table,
    "alerts": alert_table,
    "alerts-over-time": alert_step_table,
    "agreement": agreement_table,
    "agreement-over-time": agreement_step_table,
    "drift": drift_table,
}
"""By the name of the file."""


def _seconds(times: Times) -> Row:
    taken = (times.median, times.p90)
    return (times.count, *(None if each is None else round(each.total_seconds(), 1) for each in taken))


def _rate(rate: AlertRate) -> Row:
    if rate.interval is None:
        # A small number would be the findings of patients.
        return (rate.read, "", "", "", "")
    return (rate.read, rate.flagged, rate.share, rate.interval.low, rate.interval.high)


def _verdicts(of: Agreement) -> Row:
    if not of.is_shown:
        return ("",) * len(_VERDICTS)
    counts = (of.verdicts, of.agreed, of.disagreed, of.corrected, of.added)
    shares = (of.share, of.interval.low, of.interval.high) if of.interval else ("", "", "")
    return (*counts, *shares, of.flags, of.confirmed)
