"""A switch previewed on a tenant's own films by the real network; the switch then does what the preview proposed."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.deployment.models import SwitchPreview
from apps.deployment.points import PointChoice
from apps.deployment.selectors import thresholds_for, version_for
from apps.deployment.services import activate, roll_back, set_points
from apps.registry.models import ModelVersion
from apps.registry.services import register
from apps.tenants.scope import tenant_tx
from apps.trials.recent import recent_readings
from tests.conftest import STARTER

FILMS = 21


@pytest.fixture
def lower(starter: Any, tmp_path: Path) -> ModelVersion:
    """The same network with another calibration: it ranks alike, and every probability is lower."""
    folder = shutil.copytree(STARTER, tmp_path / "lower", copy_function=shutil.copyfile)
    manifest = json.loads((folder / "manifest.json").read_text())
    for platt in manifest["calibration"].values():
        platt["b"] -= 1.0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return register(artifact_dir=folder)


def preview(*arguments: str) -> str:
    out = io.StringIO()
    call_command("preview_switch", *arguments, stdout=out)
    return out.getvalue()


def test_a_preview_proposes_what_keeps_the_share_flagged(
    north: Any, south: Any, lower: ModelVersion, store_film: Any, read_studies: Any
) -> None:
    starter = version_for(north.tenant.pk)
    assert starter is not None
    for seed in range(FILMS):
        store_film(north, seed=seed, size=256, patient_name="CANARY^JANE", patient_id=f"CANARY-{seed}")
    assert read_studies() == FILMS
    with pytest.raises(CommandError, match="has read no study of South Hospital"):
        preview("starter:2", "--tenant", "south")
    probabilities = recent(north, starter)
    choices = {
        "Effusion": PointChoice("alert_rate", 0.3),
        "Mass": PointChoice("manual", value=sorted(probabilities["Mass"])[10], reason="Half of them."),
    }
    set_points(tenant=north.tenant, version=starter, choices=choices, recent=probabilities, by=Actor(name="test"))

    output = preview("starter:2", "--tenant", "north")
    kept = SwitchPreview.objects.get()
    assert kept.sha256 in output
    assert "CANARY" not in kept.report_json
    assert kept.studies == FILMS
    for label, flagged in (("Effusion", 6), ("Mass", 11)):
        counts = kept.report["labels"][label]
        assert (counts["flagged_before"], counts["flagged_after"]) == (flagged, flagged)
        assert (counts["turned_on"], counts["turned_off"]) == (0, 0)
        # Without a new threshold, the switch would flag fewer studies: a preview exists to show this.
        assert counts["flagged_at_former_threshold"] < flagged

    entry = activate(version=lower, by=Actor(name="test"))
    assert entry.previews == {str(north.tenant.pk): kept.sha256}
    for label in choices:
        proposed = kept.report["labels"][label]["proposed"]["value"]
        assert thresholds_for(lower, north.tenant.pk)[label] == proposed
    roll_back(by=Actor(name="test"))
    assert thresholds_for(starter, north.tenant.pk)["Mass"] == choices["Mass"].value
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        SwitchPreview.objects.update(studies=1)


def recent(hospital: Any, version: ModelVersion) -> dict[str, list[float]]:
    with tenant_tx(hospital.tenant.pk):
        readings = recent_readings(version=version, last=100)
    return {label: [each.probabilities[label] for each in readings] for label in version.manifest["labels"]}


def test_a_changed_choice_makes_the_preview_outdated(
    north: Any, lower: ModelVersion, store_film: Any, read_studies: Any
) -> None:
    starter = version_for(north.tenant.pk)
    assert starter is not None
    store_film(north, size=256)
    read_studies()
    for value in (0.2, 0.3):
        by_hand = PointChoice("manual", value=value, reason="Tried.")
        set_points(tenant=north.tenant, version=starter, choices={"Mass": by_hand}, recent={}, by=Actor(name="test"))
        # One study says nothing of a share, so there is no proposal either.
        assert "20 are needed" in preview("starter:2", "--tenant", "north", "--last", "5")
        with pytest.raises(ConflictError, match="preview_switch"):
            activate(version=lower, by=Actor(name="test"))


def test_a_platform_activation_keeps_the_previews_of_all_concerned_tenants(
    north: Any, south: Any, lower: ModelVersion, store_film: Any, read_studies: Any
) -> None:
    for hospital in (north, south):
        store_film(hospital, size=256)
    read_studies()
    for hospital in (north, south):
        preview("starter:2", "--tenant", hospital.tenant.slug)
    hashes = {str(each.for_tenant_id): each.sha256 for each in SwitchPreview.objects.all()}
    assert len(hashes) == 2
    serving = version_for(south.tenant.pk)
    assert serving is not None
    activate(version=serving, by=Actor(name="test"), tenant=south.tenant)
    assert activate(version=lower, by=Actor(name="test")).previews == {
        str(north.tenant.pk): hashes[str(north.tenant.pk)]
    }
    assert activate(version=lower, by=Actor(name="test"), tenant=south.tenant).previews == {
        str(south.tenant.pk): hashes[str(south.tenant.pk)]
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["starter:1", "--tenant", "north"], "starter:1 serves North"),
        (["starter:2", "--tenant", "north"], "has read no study"),
        (["starter:2", "--tenant", "north", "--last", "0"], "between 1 and 5000"),
    ],
)
def test_refused_previews_give_the_reason(north: Any, lower: ModelVersion, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        preview(*arguments)
