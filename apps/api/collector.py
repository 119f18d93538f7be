"""The figures of ``/metrics`` for the whole platform, which are read from the database at each scrape."""

from collections.abc import Iterator

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from apps.critical.selectors import waiting_on_platform
from apps.events.deliveries import count_unfinished
from apps.inference.drift import count_alarms
from apps.inference.selectors import jobs_by_state, refusing_workers, serving_workers, waiting_since


class DatabaseCollector(Collector):
    """Collects counts only; no figure names a tenant or a study."""

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("checxray_database_up", "Whether the database answered this scrape.")
        try:
            yield from self._figures()
        except (DatabaseError, ImproperlyConfigured):
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        yield up

    def _figures(self) -> list[Metric]:
        deliveries = GaugeMetricFamily(
            "checxray_deliveries", "Deliveries to hospitals' destinations that wait or were given up.", labels=["state"]
        )
        for state, count in count_unfinished().items():
            deliveries.add_metric([state], count)
        jobs = GaugeMetricFamily("checxray_jobs", "Inference jobs, by state.", labels=["state"])
        for state, count in jobs_by_state().items():
            jobs.add_metric([state], count)
        oldest = waiting_since()
        waiting = (timezone.now() - oldest).total_seconds() if oldest else 0.0
        critical = waiting_on_platform()
        longest = (timezone.now() - critical.oldest).total_seconds() if critical.oldest else 0.0
        return [
            jobs,
            deliveries,
            GaugeMetricFamily("checxray_oldest_waiting_job_seconds", "Age of the oldest job that waits.", waiting),
            GaugeMetricFamily(
                "checxray_workers_serving", "Inference workers with a model loaded.", serving_workers().count()
            ),
            GaugeMetricFamily(
                "checxray_workers_refusing",
                "Inference workers that cannot load a version that they need.",
                refusing_workers(),
            ),
            GaugeMetricFamily(
                "checxray_drift_alarms",
                "Hospitals whose last week of readings was outside the control limits.",
                count_alarms(),
            ),
            GaugeMetricFamily(
                "checxray_critical_notices_waiting",
                "Critical findings that nobody has acknowledged yet.",
                critical.count,
            ),
            GaugeMetricFamily(
                "checxray_oldest_critical_notice_seconds", "How long the oldest of them has waited.", longest
            ),
        ]
