"""Weeks of readings: counted once, compared with the hospital's own first weeks, and shown."""

import datetime
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.core.work_queue import JobState
from apps.deployment.models import DriftReference, DriftWeek
from apps.deployment.services import apply_recalibration, propose_recalibration
from apps.events.models import ModelEvent
from apps.inference.drift import accept_weeks, count_alarms, count_ended_weeks, current_alarm, week_of
from apps.inference.models import InferenceJob
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from tests.conftest import PASSWORD
from tests.results import version
from tests.trials.reviewed import read_studies_as_rows

__all__ = ["version"]

PAGE = reverse("portal:drift")
NOW = timezone.now()
WEEK = datetime.timedelta(days=7)
BY = Actor(name="test")


def read_week(hospital: Any, version: Any, ago: int, *, shift: float = 0.0, films: int = 60) -> list[InferenceJob]:
    """A week of films whose probabilities are spread alike, or shifted in logits."""
    random = np.random.default_rng(ago)
    start = datetime.datetime.combine(week_of(NOW) - ago * WEEK, datetime.time(9), datetime.UTC)
    values = 1 / (1 + np.exp(-random.normal(-2.0 + shift, 1.0, (films, len(LABELS)))))
    return read_studies_as_rows(
        hospital,
        version,
        [dict(zip(LABELS, map(float, row), strict=True)) for row in values],
        finished=[start + datetime.timedelta(minutes=n) for n in range(films)],
        views=["AP" if n % 3 == 0 else "PA" for n in range(films)],
        name=f"w{ago}",
    )


def test_first_weeks_are_the_reference_and_a_shifted_week_raises_an_alarm(
    north: Any, south: Any, version: Any, sign_in: Any
) -> None:
    admin = sign_in(north, north.admin)
    assert b"No week has ended yet" in admin.get(PAGE).content
    for ago in range(6, 1, -1):
        read_week(north, version, ago)
    read_week(south, version, 1)
    shifted = read_week(north, version, 1, shift=1.5)
    with tenant_tx(north.tenant.pk):
        InferenceJob.objects.filter(pk__in=[job.pk for job in shifted[:20]]).update(
            state=JobState.REJECTED, reason_code="not-chest", reason="Not a chest film."
        )
        # A film of the same patient counts once, and a week that is not over does not count.
        first, second = shifted[-2:]
        type(second.study).objects.filter(pk=second.study_id).update(patient_id=first.study.patient_id)
    read_week(north, version, 0, shift=9.0)
    assert count_ended_weeks() > 0
    assert count_ended_weeks() == 0

    weeks = list(DriftWeek.objects.filter(for_tenant=north.tenant))
    assert len(weeks) == 6
    reference = DriftReference.objects.get()
    assert (reference.source, reference.films, reference.for_tenant) == ("first-weeks", 240, north.tenant)
    last = weeks[0]
    assert (last.read, last.refused) == (39, 20)
    assert {each["what"] for each in last.alarms} >= {"probability", "flagged", "refused"}
    assert last.means["Mass"] > 0.3
    assert [each.alarms for each in weeks[1:]] == [[]] * 5
    assert current_alarm(north.tenant.pk) == last
    assert current_alarm(south.tenant.pk) is None
    assert count_alarms() == 1
    event = ModelEvent.objects.get(type="model.drift")
    assert (event.data["scope"], event.data["week"]) == ("north", last.week.isoformat())
    assert event.data["alarms"][0].keys() == {"what", "label", "value", "expected"}

    shown = admin.get(PAGE, {"label": "Mass"}).content.decode()
    for text in ("outside the control limits", "First weeks at this hospital", "Share of films refused", "one of 100"):
        assert text in shown, text
    assert "unlike before" in sign_in(north, north.radiologist).get(reverse("portal:worklist")).content.decode()
    assert "unlike before" not in sign_in(south, south.admin).get(reverse("portal:worklist")).content.decode()
    assert sign_in(north, north.radiologist).get(PAGE).status_code == 403

    operator = Client()
    operator.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    listed = operator.get(reverse("admin:deployment_driftweek_changelist"), {"alarm": "1"}).content.decode()
    assert "North Hospital" in listed
    assert "South Hospital</td>" not in listed
    page = operator.get(reverse("admin:deployment_driftweek_change", args=[last.pk])).content.decode()
    assert "<svg" in page
    assert "Share of films refused 0." in page
    shown_reference = operator.get(reverse("admin:deployment_driftreference_change", args=[reference.pk]))
    assert b"First weeks at this hospital" in shown_reference.content

    # The administrator knows the cause.
    assert b"This field is required" in admin.post(PAGE, {"reason": ""}).content
    assert admin.post(PAGE, {"reason": "A new detector."}).status_code == 302
    assert current_alarm(north.tenant.pk) is None
    assert b"A new detector." in admin.get(PAGE).content
    with tenant_tx(north.tenant.pk):
        assert AuditEvent.objects.filter(action="drift.accepted").count() == 1
    with tenant_tx(south.tenant.pk), pytest.raises(ConflictError, match="200 are needed"):
        accept_weeks(tenant=south.tenant, version=version, by=BY, reason="x")


def test_a_recalibration_is_no_drift(north: Any, version: Any) -> None:
    """Figures are of the version's own probabilities, so a hospital that changes its scale raises no alarm."""
    for ago in range(6, 1, -1):
        read_week(north, version, ago)
    proposed = propose_recalibration(
        tenant=north.tenant, version=version, method="prevalence", fits={"Mass": {"a": 1.0, "b": -3.0}}, evidence={},
        preview={}, by=BY,
    )  # fmt: skip
    apply_recalibration(recalibration=proposed, by=BY, reason="x")
    jobs = read_week(north, version, 1)
    with tenant_tx(north.tenant.pk):
        for job in jobs:
            finding = job.findings.get(label="Mass")
            finding.probability = proposed.shown("Mass", finding.probability)
            finding.save()
        InferenceJob.objects.filter(pk__in=[job.pk for job in jobs]).update(recalibration=proposed)
    assert count_ended_weeks() == 0
    last = DriftWeek.objects.filter(for_tenant=north.tenant).first()
    assert last is not None
    assert 0.1 < last.means["Mass"] < 0.25
    assert len(last.figures) == 2 * len(LABELS) + 1
