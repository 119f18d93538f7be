"""A row of every table of the operator's console, made by the services where they are quick."""

import datetime
from pathlib import Path
from typing import Any

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models.functions import Now

from apps.accounts.models import User
from apps.audit.models import SecurityEvent
from apps.audit.services import Actor
from apps.core.identifiers import uuid7
from apps.deployment.models import DriftReference, DriftWeek, Recalibration
from apps.deployment.points import PointChoice
from apps.deployment.services import (
    activate,
    challenge,
    offer,
    request_activation,
    request_evaluations,
    request_preview,
    set_points,
    stop_ai,
)
from apps.events.models import ModelEvent
from apps.events.services import create_endpoint, ping
from apps.inference.models import Worker
from apps.registry.models import ModelVersion
from apps.training.models import TrainingRun
from apps.training.runs import record_progress, start_training_run
from apps.trials.preview_report import PairedProbabilities
from apps.trials.services import store_preview
from tests.conftest import Hospital
from tests.evaluation import synthetic
from tests.registry.versions import registered
from tests.training.progress import epoch, start, step

BY = Actor(name="test")


def fill_console(north: Hospital, south: Hospital, serving: ModelVersion, operator: User) -> ModelVersion:
    """Fill every table; the version that is returned is not in service."""
    candidate, pinned = registered(4, scale=0.5), registered(5)
    films = synthetic.a_set()
    synthetic.measured(serving, films, 1.0)
    synthetic.measured(candidate, films, 0.5, noise=2)
    request_evaluations(version=pinned)
    by_hand = PointChoice("manual", value=0.3, reason="As before.")
    set_points(tenant=north.tenant, version=serving, choices={"Mass": by_hand}, recent={}, by=BY)
    _preview(north, serving, candidate)
    request_preview(tenant=south.tenant, version=candidate, last=200, by=BY)
    activate(version=pinned, tenant=south.tenant, by=BY, reason="Portable films.", despite_gate=True)
    challenge(version=candidate, by=BY, reason="Is it better?")
    offer(version=candidate, by=BY, tenant=north.tenant)
    request_activation(
        version=candidate, by=Actor(user_id=operator.pk, name="operator"), reason="Better.", despite_gate=True
    )
    stop_ai(tenant=north.tenant, by=BY, label="Pneumothorax", reason="False alarms.")
    _drift(north, serving)
    Worker.objects.create(name="gpu-1", device="H200", model_version=serving, last_seen=Now())
    _training()
    endpoint, _ = create_endpoint(url="https://receiver.example/hook", types=ModelEvent.Type.values, description="RIS")
    ping(endpoint=endpoint)
    LogEntry.objects.create(
        user=operator, content_type=ContentType.objects.get_for_model(endpoint), object_id=endpoint.pk,
        object_repr=str(endpoint), action_flag=ADDITION, change_message="Messages go to the RIS.",
    )  # fmt: skip
    SecurityEvent.objects.create(action=SecurityEvent.Action.KEY_REFUSED, address="192.0.2.7")
    return candidate


def _preview(hospital: Hospital, before: ModelVersion, after: ModelVersion) -> None:
    labels = before.manifest["labels"]
    current = {label: [(number % 10) / 10 for number in range(40)] for label in labels}
    candidate = {label: [(number % 7) / 10 for number in range(40)] for label in labels}
    read = PairedProbabilities(current=current, candidate=candidate, studies=40, refused=1)
    store_preview(tenant=hospital.tenant, from_version=before, to_version=after, probabilities=read, by=BY)


def _drift(hospital: Hospital, version: ModelVersion) -> None:
    scope: dict[str, Any] = {"for_tenant": hospital.tenant, "model_version": version}
    source = DriftReference.Source.FIRST_WEEKS
    monday = datetime.date(2026, 11, 16)
    reference = DriftReference.objects.create(
        **scope, source=source, films=300, first_week=monday, last_week=monday, data={}, actor="test"
    )
    means = dict.fromkeys(version.manifest["labels"], 0.1)
    found = {"what": "probability", "label": "Mass", "value": 0.2, "expected": 0.1, "p_value": 1e-6}
    DriftWeek.objects.create(
        **scope, week=monday, read=90, refused=2, views={"PA": 60, "AP": 30}, means=means, flagged=means,
        reference=reference, figures=[found], alarms=[found],
    )  # fmt: skip
    Recalibration.objects.create(
        **scope, number=1, method=Recalibration.Method.PREVALENCE, fits={"Mass": {"a": 1.0, "b": -0.5}},
        evidence={"Mass": "declared 2 %"}, preview_json="{}", sha256="0" * 64, actor="test",
    )  # fmt: skip


def _training() -> TrainingRun:
    settings = {"seed": 3, "recipe": {"lr": 0.001, "mixup": None}}
    run = start_training_run(
        name="chexnet", architecture="densenet121", settings=settings, epochs=4, folder=Path("/out"), nodes="1:1",
        by=BY, run_id=uuid7(),
    )  # fmt: skip
    record_progress(run_id=run.pk, events=[start(), epoch(1), epoch(2, None), step(3, 5)])
    return run
