"""The alarm budget as a choice of operating points, and the alarms that pages name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client

from apps.audit.services import Actor
from apps.core.errors import InvalidInputError
from apps.deployment.alarms import alarm_figures
from apps.deployment.points import PointChoice
from apps.deployment.selectors import thresholds_for
from apps.deployment.services import activate, set_points
from apps.registry.models import ModelVersion
from apps.registry.services import register
from ml.labels import LABELS
from ml.model.artifact import save_artifact
from ml.model.held_out import HeldOutRecord
from ml.training.package import rounded_tensors
from tests.ml import tiny


@pytest.fixture
def measured(db: None, tmp_path: Path) -> ModelVersion:
    """A version in service that carries its outputs on 800 films, of which about half are normal."""
    rng = np.random.default_rng(0)
    truth = (rng.random((800, len(LABELS))) < 0.05).astype(np.float32)
    logits = (rng.normal(size=truth.shape) + 2 * truth - 1).astype(np.float32)
    record = HeldOutRecord(logits, truth, np.array(["PA", "AP"] * 400), np.arange(800, dtype=np.int32))
    save_artifact(tmp_path / "tiny", tiny.manifest(), rounded_tensors(tiny.network()), held_out=record)
    version = register(artifact_dir=tmp_path / "tiny")
    activate(version=version, by=Actor(name="test"))
    return version


def choose(hospital: Any, version: ModelVersion, share: float, labels: tuple[str, ...] = LABELS) -> None:
    set_points(
        tenant=hospital.tenant,
        version=version,
        choices={label: PointChoice("alarm_budget", share) for label in labels},
        recent={},
        by=Actor(name="test"),
        reason="Fewer alarms.",
    )


def test_a_budget_for_all_findings_is_kept_together(north: Any, south: Any, measured: ModelVersion) -> None:
    before = alarm_figures(measured, thresholds_for(measured, north.tenant.pk))
    choose(north, measured, 0.1)
    after = alarm_figures(measured, thresholds_for(measured, north.tenant.pk))
    assert before is not None
    assert after is not None
    assert before.normals_flagged > 0.5
    assert 0.05 < after.normals_flagged <= 0.11
    assert 0 < after.findings_flagged < before.findings_flagged
    assert "Of 100 normal films about " in str(after)
    assert alarm_figures(measured, thresholds_for(measured, south.tenant.pk)) == before


def test_the_portal_names_the_alarms(north: Any, measured: ModelVersion, sign_in: Callable[..., Client]) -> None:
    found = alarm_figures(measured, thresholds_for(measured, north.tenant.pk))
    admin = sign_in(north, north.admin)
    assert str(found) in admin.get("/operating-points/").text.replace("&#x27;", "'")
    assert str(found) in admin.get("/operating-points/Effusion/").text.replace("&#x27;", "'")


def test_a_version_without_held_out_outputs_says_so(north: Any, tmp_path: Path) -> None:
    version = register(artifact_dir=tiny.artifact(tmp_path / "plain"))
    activate(version=version, by=Actor(name="test"))
    assert alarm_figures(version, thresholds_for(version, north.tenant.pk)) is None
    with pytest.raises(InvalidInputError, match="came without the outputs"):
        choose(north, version, 0.1, ("Effusion",))


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5])
def test_a_share_that_is_none_is_refused(north: Any, measured: ModelVersion, share: float) -> None:
    with pytest.raises(InvalidInputError, match="as a number between 0 and 1"):
        choose(north, measured, share, ("Effusion",))
