"""A training run in the console: progress, end, and lost runs."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.core.identifiers import uuid7
from apps.training.models import TrainingRun
from apps.training.runs import complete_training_run, fail_training_run, record_progress, start_training_run
from tests.conftest import PASSWORD, STARTER
from tests.training.progress import artifact, epoch, start, step


@pytest.fixture
def run(db: None) -> TrainingRun:
    return start_training_run(
        name="chexnet-densenet121", architecture="densenet121", settings={"seed": 3}, epochs=4, folder=Path("/out"),
        nodes="2:3", by=Actor(name="cli:test"), run_id=uuid7(),
    )  # fmt: skip


@pytest.fixture
def look(run: TrainingRun) -> Callable[[str], str]:
    """The text of one of the run's pages: list, page or live part."""
    client = Client()
    client.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))

    def looked(which: str) -> str:
        arguments = [] if which == "changelist" else [run.pk]
        return client.get(reverse(f"admin:training_trainingrun_{which}", args=arguments)).content.decode()

    return looked


def test_a_run_that_prepares_has_empty_curves_and_says_so(run: TrainingRun, look: Any) -> None:
    page = look("change")
    assert "Nothing has been trained yet" in page
    assert page.count("No values yet") == 2 * 6  # in the drawing and in its description
    assert "Preparing" in look("changelist")
    assert '<th scope="row">seed</th><td>3</td>' in page
    assert "&quot;seed&quot;" not in page
    assert "js/live.js" in page


def test_a_running_run_shows_how_far_it_is_and_its_curves(run: TrainingRun, look: Any) -> None:
    forecast = {
        "wire_bytes": 37.2e6, "bytes_per_second": 118e6, "communication": 0.315, "computation": 0.07,
        "efficiency": 0.18, "gradient_bytes": 27_900_000,
    }  # fmt: skip
    record_progress(run_id=run.pk, events=[start() | {"forecast": forecast}, epoch(1), epoch(2, None), step(3, 5)])
    for which in ("change", "live"):
        page = look(which)
        assert 'data-open="true"' in page
        assert "3 of 4, step 5 of 10" in page
        assert 'value="0.6250"' in page
        assert "under a minute" in page
        assert "rank 2: 2 points, last 700" in page
        assert "The network leaves 18 % of the computing rate" in page
        assert "3 on 2:3 nodes, gloo, cpu" in page
    listed = look("changelist")
    assert "Running" in listed
    assert 'value="0.625"' in listed
    assert "3 of 4" in listed


def test_many_ranks_are_summarised(run: TrainingRun, look: Any) -> None:
    ranks = [{"rank": rank, "p50": (rank + 1) / 100, "p95": 1.0} for rank in range(16)]
    record_progress(run_id=run.pk, events=[start(), epoch(1) | {"ranks": ranks}])
    page = look("live")
    assert "slowest rank: 1 points, last 160" in page
    assert "rank 15" not in page


def test_a_killed_run_shows_as_lost(run: TrainingRun, look: Any) -> None:
    record_progress(run_id=run.pk, events=[start(), step(1, 1)])
    TrainingRun.objects.update(heartbeat=timezone.now() - timedelta(minutes=5))
    assert "Lost contact" in look("changelist")
    assert "The same command continues after the last complete checkpoint" in look("change")


def test_a_failure_shows_its_reason(run: TrainingRun, look: Any) -> None:
    fail_training_run(run=run, reason="rank 1: <b>The disk is full.</b>\nMake room.")
    page = look("change")
    assert "rank 1: &lt;b&gt;The disk is full.&lt;/b&gt;<br>Make room." in page
    assert 'data-open="false"' in page
    assert "Failed" in look("changelist")


def test_a_complete_run_leads_to_its_candidate_and_back(run: TrainingRun, look: Any) -> None:
    record_progress(run_id=run.pk, events=[start(), epoch(1), epoch(2), epoch(3), epoch(4), artifact(3)])
    complete_training_run(run=run, artifact=STARTER)
    page = look("change")
    assert reverse("admin:registry_modelversion_change", args=[run.model_version_id]) in page
    assert "until an operator activates it" in page
    assert 'value="1.0000"' in page
    client = Client()
    client.force_login(User.objects.get())
    version = client.get(reverse("admin:registry_modelversion_change", args=[run.model_version_id])).content.decode()
    assert reverse("admin:training_trainingrun_change", args=[run.pk]) in version
    assert "Candidate" in version


def test_the_live_part_is_for_operators_and_not_cached(run: TrainingRun) -> None:
    address = reverse("admin:training_trainingrun_live", args=[run.pk])
    assert Client().get(address).status_code == 302
    client = Client()
    client.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    assert client.get(address)["Cache-Control"].count("no-store") == 1
    assert client.get(reverse("admin:training_trainingrun_live", args=[uuid7()])).status_code == 404
