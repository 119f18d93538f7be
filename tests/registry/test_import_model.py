"""`import_model`: from another project's file to a version that reads a film."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from django.test import Client
from PIL import Image

from apps.accounts.models import User
from apps.deployment.models import Deployment
from apps.registry.models import ModelVersion
from apps.registry.services import fetch_artifact
from ml.importers import assemble
from ml.model.artifact import load_artifact
from tests.conftest import PASSWORD
from tests.deployment.test_activation import run
from tests.ml import tiny
from tests.ml.importers import foreign

PLAIN = ("--format", "state-dict", "--arch", tiny.ARCHITECTURE, "--size", "64")


@pytest.fixture(autouse=True)
def two_synthetic_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen take seconds to draw, and nothing here depends on how many there are."""
    monkeypatch.setattr(assemble, "_synthetic_images", lambda count: (foreign.chest(seed=0), foreign.chest(seed=1)))


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A network of five outputs, three of which are findings here."""
    state = tiny.network().state_dict()
    kept = {key.removeprefix("features.body."): value for key, value in state.items()}
    kept |= {key: kept[key][:5].clone() for key in ("classifier.weight", "classifier.bias")}
    return foreign.save({"state_dict": kept, "epoch": 7}, tmp_path / "few.pth")


def test_an_imported_version_is_a_candidate_that_can_serve(db: None, few: Path, tmp_path: Path) -> None:
    labels = "Fracture,Pleural Effusion,,Hernia,Mass"
    output = run("import_model", str(few), *PLAIN, "--name", "few", "--labels", labels, "--license", "CC0")
    for line in (
        "test_efficientnet, 64 x 64 pixels, crop, bilinear",
        "3 findings",
        "no operating point",
        "Not trained, so never reported: Atelectasis, ",
        "Left out: Fracture: no finding of ChestX-ray14",
        "Left out: output 3, not trained",
        "Left out: epoch: no part of the network",
        "Note: Not calibrated here",
        "few:1 is registered as a candidate",
    ):
        assert line in output
    version = ModelVersion.objects.get()
    assert not Deployment.objects.exists()
    assert version.manifest["data"]["licence"] == "CC0"
    assert load_artifact(fetch_artifact(version)).manifest.labels == ("Effusion", "Mass", "Hernia")

    with pytest.raises(CommandError, match=r"never evaluated.*evaluate_model --version few:1.*--despite-gate"):
        run("activate_model", "few:1")
    run("activate_model", "few:1", "--despite-gate", "--reason", "For research.")
    film = tmp_path / "film.png"
    Image.fromarray(foreign.chest(300, 280)).save(film)
    (read,) = json.loads(run("predict", str(film), "--json"))
    assert read["gate"]["accepted"]
    assert [(f["label"], f["threshold"], f["positive"]) for f in read["findings"]] == [
        (label, None, False) for label in ("Effusion", "Mass", "Hernia")
    ]


def test_the_console_shows_what_was_imported(db: None, tmp_path: Path) -> None:
    path = foreign.save(foreign.xrv_densenet(), tmp_path / "kaggle-densenet121-d121-tw-lr001-best.pt")
    output = run(
        "import_model", str(path), "--format", "xrv", "--name", "xrv-rsna", "--source", "mlmed/torchxrayvision"
    )
    assert "Known as TorchXRayVision's densenet121-res224-rsna" in output
    assert "0.1349  imported" in output
    version = ModelVersion.objects.get()
    client = Client()
    client.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    page = client.get(f"/admin/registry/modelversion/{version.pk}/change/").content.decode()
    for text in ("Pneumonia", "0.135", "imported", "not known", "square, gaussian", "mlmed/torchxrayvision"):
        assert text in page


def test_a_bundle_is_imported_as_the_same_version(db: None, tmp_path: Path) -> None:
    folder = tiny.artifact(tmp_path / "tiny")
    assert "other:1 is registered" in run("import_model", str(folder), "--format", "bundle", "--name", "other")
    assert ModelVersion.objects.get().sha256 == load_artifact(folder).sha256
    with pytest.raises(CommandError, match="leave out --size"):
        run("import_model", str(folder), "--format", "bundle", "--name", "other", "--size", "64")


class Touch:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("kind", ["xrv", "chexnet", "state-dict", "bundle"])
def test_a_hostile_file_leaves_nothing_behind(db: None, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "executed"
    pickled = tmp_path / "model.pt"
    torch.save({"state_dict": Touch(target)}, pickled)
    with pytest.raises(CommandError, match=r"Nothing was executed|neither a .zip nor a .tar|no manifest.json"):
        run("import_model", str(pickled), "--format", kind, "--name", "evil")
    assert not target.exists()
    assert not ModelVersion.objects.exists()
    # The file is what it claims to be: torch itself would have run it.
    torch.load(pickled, weights_only=False)
    assert target.exists()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--name", "a b"], "is not a valid name"),
        (["--name", "x", "--mean", "half"], "not one or three numbers"),
        (["--name", "x", "--labels", "Effusion,Mass"], "has 5 outputs, but 2 names"),
        (["--name", "x"], "5 outputs, but 14 names"),
        (["--name", "x", "--labels", "Effusion,,,,", "--calibrate", "/nowhere"], "calibration films can't be used"),
    ],
)
def test_refused_imports_give_the_reason(db: None, few: Path, more: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("import_model", str(few), *PLAIN, *more, stdout=io.StringIO())
    assert not ModelVersion.objects.exists()


def test_calibration_films_fit_scale_and_points(db: None, few: Path, tmp_path: Path) -> None:
    sample = tmp_path / "films"
    write_films(sample)
    output = run(
        "import_model", str(few), *PLAIN, "--name", "few", "--labels", "Effusion,,,,Mass", "--calibrate", str(sample)
    )
    assert "Heatmap scale and Platt calibration from 60 films of 60 patients" in output
    manifest = ModelVersion.objects.get().manifest
    assert manifest["calibration"]["Effusion"] != {"a": 1.0, "b": 0.0}
    assert manifest["calibration"]["Mass"] == {"a": 1.0, "b": 0.0}
    assert manifest["thresholds"]["Effusion"]["strategy"] == "youden"
    assert "2 positive calibration films, 10 are needed" in manifest["threshold_notes"]["Mass"]
    assert manifest["gate"] is None


def write_films(folder: Path) -> None:
    """Sixty noisy pictures in the ChestX-ray14 layout, and a test list that names a film which is not there."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    for number in range(61):
        finding = "Mass" if number < 2 else "Effusion" if number % 2 else "No Finding"
        rows.append(f"{number}.png,{finding},0,{number + 1},50,M,PA")
        if number < 60:
            low = 120 if finding == "Effusion" else 0
            Image.fromarray(rng.integers(low, 255, (64, 64), dtype=np.uint8)).save(folder / "images" / f"{number}.png")
    (folder / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")
    (folder / "test_list.txt").write_text("60.png\n")
