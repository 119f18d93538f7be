"""From films to a stored evaluation, its JSON, its page and its document."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.deployment.card.sections import card_sections
from apps.deployment.services import activate
from apps.evaluation.execution import render_evaluation_pdf
from apps.evaluation.models import Evaluation
from apps.evaluation.services import create_evaluation_set
from apps.registry.models import ModelVersion
from apps.registry.services import register
from apps.training.models import TrainingRun
from ml.labels import LABELS
from tests.conftest import PASSWORD
from tests.evaluation.films import write_layout
from tests.ml import tiny
from tests.reports.reading import figure_texts, opened, text_of


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("films"), patients=64, test=24)


@pytest.fixture
def version(db: None, tmp_path: Path) -> ModelVersion:
    return register(artifact_dir=tiny.artifact(tmp_path / "tiny"))


def evaluate(data: Path, **options: Any) -> str:
    out = io.StringIO()
    call_command("evaluate_model", f"--data={data}", stdout=out, **options)
    return out.getvalue()


def test_the_version_in_service_is_evaluated_and_the_result_stored(
    version: ModelVersion, films: Path, tmp_path: Path
) -> None:
    activate(version=version, by=Actor(name="test"))
    output = evaluate(films, json=tmp_path / "out.json")

    written = json.loads((tmp_path / "out.json").read_text())
    kept = Evaluation.objects.get()
    assert written["model_version"] == "tiny:1" == str(kept.model_version)
    assert (written["n"], written["patients"]) == (48, 24) == (kept.n, kept.patients)
    assert list(written["labels"]) == list(LABELS)
    low, high = written["labels"]["Effusion"]["ci95"]
    assert low <= written["labels"]["Effusion"]["auroc"] <= high
    assert written["labels"]["Effusion"]["positives"] > 10
    assert written["labels"]["Hernia"]["auroc"] is None
    assert written["mean_auroc"] == kept.mean_auroc
    assert written["ci95"][0] <= written["mean_auroc"] <= written["ci95"][1]
    assert kept.split_id == "list test_list.txt"
    for message in ("Table 2", "Table 3", "CheXNet", "48 films", "Not run", "tiny:1", "Not for diagnostic use"):
        assert message in output, message


def test_another_list_and_another_version_may_be_named(version: ModelVersion, films: Path, tmp_path: Path) -> None:
    names = (films / "test_list.txt").read_text().split()[:20]
    (tmp_path / "mine.txt").write_text("\n".join(names))
    evaluate(films, split=tmp_path / "mine.txt", reference="tiny:1")
    kept = Evaluation.objects.get()
    assert (kept.n, kept.split_id) == (20, "list mine.txt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "tiny:9"}, "Registered: tiny:1"),
        ({}, "No model version is in service"),
        ({"reference": "tiny:1", "json": Path("/nowhere/out.json")}, "There is no folder /nowhere"),
        ({"reference": "tiny:1", "json": Path("/")}, "/ is a folder: give the name of a file"),
        ({"reference": "tiny:1", "split": Path("absent.txt")}, "absent.txt"),
    ],
)
def test_refused_evaluations_give_the_reason(version: ModelVersion, films: Path, options: Any, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        evaluate(films, **options)
    assert not Evaluation.objects.exists()


def test_a_folder_without_films_is_refused(version: ModelVersion, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Data_Entry_2017"):
        evaluate(tmp_path, reference="tiny:1")


@pytest.fixture
def evaluation(version: ModelVersion, films: Path) -> Evaluation:
    evaluate(films, reference="tiny:1")
    return Evaluation.objects.get()


def test_an_evaluation_is_written_once(evaluation: Evaluation) -> None:
    for change in (lambda: Evaluation.objects.update(n=2), lambda: Evaluation.objects.all().delete()):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            change()


def test_the_page_and_the_document_show_the_same(evaluation: Evaluation) -> None:
    client = Client()
    client.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    page = client.get(reverse("admin:evaluation_evaluation_change", args=[evaluation.pk])).content.decode()
    pdf = client.get(reverse("admin:evaluation_evaluation_pdf", args=[evaluation.pk]))
    listed = client.get(reverse("admin:evaluation_evaluation_changelist")).content.decode()
    of_version = client.get(reverse("admin:registry_modelversion_change", args=[evaluation.model_version_id]))

    assert pdf["Content-Type"] == "application/pdf"
    file = opened(pdf.content)
    text = " ".join(text_of(file).split())
    mean = f"{evaluation.mean_auroc:.3f}"
    for message in ("CheXNet", "Subgroups", "What was not run", "list test_list.txt", mean, "Not for diagnostic use"):
        assert message in page, message
        assert message in text, message
    # Effusion and Mass, each as ROC and reliability; the other twelve are on none of the films.
    assert page.count('class="chart"') == 4
    alternatives = figure_texts(file.trailer["/Root"]["/StructTreeRoot"])
    assert len(alternatives) == page.count('class="chart"')
    assert any(each.startswith("Effusion, AUROC") for each in alternatives)
    assert "style=" not in page
    assert mean in listed
    assert reverse("admin:evaluation_evaluation_change", args=[evaluation.pk]) in of_version.content.decode()
    assert "Verified" in of_version.content.decode()
    card = client.get(reverse("admin:registry_modelversion_card", args=[evaluation.model_version_id])).content.decode()
    assert card.count('class="chart"') == 4
    assert "Subgroups" in card


def test_the_card_shows_the_release_gates(version: ModelVersion, films: Path) -> None:
    create_evaluation_set(name="public", folder=str(films))
    evaluate(films, reference="tiny:1")
    found = {section.title: section for section in card_sections(version)}
    assert found["Release gates"].table is not None
    assert found["Release gates"].table.rows == (("public", "Not comparable", "No version serves the platform yet."),)


def test_the_document_is_closed_to_the_network(evaluation: Evaluation) -> None:
    evaluation.split_id = '"><img src="http://127.0.0.1:1/x"><script>'
    text = text_of(opened(render_evaluation_pdf(evaluation=evaluation)))
    assert evaluation.split_id in "".join(text.split("\n"))


def compare(data: Path, **options: Any) -> str:
    out = io.StringIO()
    call_command("compare_models", f"--data={data}", stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def test_versions_are_compared_on_the_same_films(version: ModelVersion, films: Path, tmp_path: Path) -> None:
    register(artifact_dir=tiny.artifact(tmp_path / "other", seed=1), name="other")
    output = compare(films, references=["tiny:1", "other:1"], json=tmp_path / "out.json")

    assert "Table 2" in output
    assert "Mean minus tiny:1" in output
    _, second = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert second["model"]["name"] == "other:1"
    low, high = second["difference"]["ci95"]
    assert low <= second["difference"]["mean_auroc"] <= high


@pytest.mark.long
def test_an_architecture_is_trained_to_be_compared(
    version: ModelVersion, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    output = compare(
        films, references=["tiny:1"], arch=[tiny.ARCHITECTURE], epochs=1, batch_size=8, input_size=64, device="cpu"
    )

    trained = ModelVersion.objects.get(name="chexnet-test_efficientnet")
    assert f"{trained} ({tiny.ARCHITECTURE})" in output
    assert trained.training_runs.count() == 1
    with pytest.raises(CommandError, match="two or more"):
        compare(films, references=["tiny:1"])
    with pytest.raises(CommandError, match="Unknown architecture"):
        compare(films, arch=[tiny.ARCHITECTURE, "chexnet"], epochs=1, device="cpu")
    assert TrainingRun.objects.count() == 1
