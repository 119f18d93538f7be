"""The shape of a manifest's descriptive parts: a manifest that pages could not show is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command

from apps.core.errors import InvalidInputError
from apps.registry.models import ModelVersion
from apps.registry.services import register
from apps.studies.storage import read_bytes
from ml.model.artifact import WEIGHTS
from ml.model.manifest import MANIFEST
from tests.conftest import STARTER
from tests.workers.loading import change


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "made", copy_function=shutil.copyfile))


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("metrics", [], "metrics"),
        ("metrics", {"test": None}, "metrics.test"),
        ("metrics", {"test": {"mean_auroc": "good"}}, "metrics.test.mean_auroc"),
        ("metrics", {"test": {"labels": {"Mass": 0.7}}}, "metrics.test.labels.Mass"),
        ("metrics", {"operating_curve": {"validation": {"Unknown": [[0.1, 0.2, 0.3]]}}}, "metrics.operating_curve"),
        ("metrics", {"operating_curve": {"validation": {"Mass": [[0.1, 0.2]]}}}, "metrics.operating_curve"),
        ("data", "text", "data"),
        ("threshold_notes", [], "threshold_notes"),
        ("data", {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": {"k": {}}}}}}}}}}}}, "deeper than"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(db: None, folder: Path, part: str, value: Any, named: str) -> None:
    change(folder, **{part: value})
    with pytest.raises(InvalidInputError, match=named):
        register(artifact_dir=folder)
    assert not ModelVersion.objects.exists()


def test_a_threshold_of_another_kind_is_refused(db: None, folder: Path) -> None:
    thresholds = json.loads((folder / MANIFEST).read_text())["thresholds"]
    change(folder, thresholds={**thresholds, "Mass": {"value": 0.5, "strategy": 5, "positives": "many"}})
    with pytest.raises(InvalidInputError, match=r"thresholds.Mass"):
        register(artifact_dir=folder)


def test_registering_again_replaces_damaged_files(
    starter: ModelVersion, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = f"{starter.object_prefix}/{WEIGHTS}"
    whole = read_bytes(key)
    for damaged in (b"cut", None):
        default_storage.delete(key)
        if damaged is not None:
            default_storage.save(key, ContentFile(damaged))
        call_command("register_model", folder)
        assert read_bytes(key) == whole
    assert "starter:1 was registered before from the same artifact" in capsys.readouterr().out
