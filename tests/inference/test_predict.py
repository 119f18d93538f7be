"""``manage.py predict`` with the shipped model: the contract's JSON, the input check, the exit status."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from django.core.management import CommandError, call_command
from onnx import numpy_helper
from PIL import Image

from ml.labels import LABELS
from ml.model.manifest import Manifest
from ml.model.predictor import graph_key


def predict(*paths: Path, **options: Any) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("predict", *map(str, paths), stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def as_png(tmp_path: Path) -> Callable[[int], Path]:
    from tests.synthetic import synthetic_image

    def made(seed: int) -> Path:
        path = tmp_path / f"film-{seed}.png"
        Image.fromarray(synthetic_image(seed).pixels.astype("uint8")).save(path)
        return path

    return made


def test_every_kind_of_film_gets_the_contracts_json(starter: Any, make_film: Any, as_png: Any, tmp_path: Path) -> None:
    dicom, lateral = make_film(seed=1, findings=("Effusion",)), make_film(seed=2, view_position="LL")
    text = tmp_path / "notes.txt"
    text.write_text("no film")

    entries = json.loads(predict(dicom, lateral, as_png(3), text, json=True)[0])

    assert [entry["file"] for entry in entries] == [str(dicom), str(lateral), str(tmp_path / "film-3.png"), str(text)]
    assert {entry["model_version"] for entry in entries} == {str(starter)}
    accepted, refused, _, no_film = entries
    assert accepted["gate"]["accepted"], accepted["gate"]
    assert {finding["label"] for finding in accepted["findings"]} == set(LABELS)
    for finding in accepted["findings"]:
        assert set(finding) == {"label", "probability", "threshold", "positive", "uncertain", "localisation"}
        assert 0.0 <= finding["probability"] <= 1.0
        has_point = finding["threshold"] is not None
        assert finding["positive"] == (has_point and finding["probability"] >= finding["threshold"])
    assert (refused["gate"]["accepted"], refused["gate"]["reason"], refused["findings"]) == (False, "not-frontal", [])
    assert (no_film["gate"]["reason"], no_film["findings"]) == ("format-not-recognised", [])


def test_a_missing_file_fails_after_the_others_were_printed(starter: Any, make_film: Any, tmp_path: Path) -> None:
    film = make_film(seed=1)
    out = io.StringIO()

    with pytest.raises(CommandError, match="1 of 2 files"):
        call_command("predict", str(tmp_path / "gone.dcm"), str(film), json=True, stdout=out, stderr=io.StringIO())

    gone, read = json.loads(out.getvalue())
    assert gone["gate"] == {"accepted": False, "reason": "file-unreadable", "detail": gone["gate"]["detail"]}
    assert read["findings"]


def test_a_folder_stands_for_its_files_in_batches(starter: Any, make_film: Any, settings: Any) -> None:
    settings.INFERENCE_BATCH_SIZE = 2
    films = sorted(make_film(seed=seed, size=256) for seed in range(5))

    entries = json.loads(predict(films[0].parent, json=True)[0])

    assert [entry["file"] for entry in entries] == [str(film) for film in films]


def test_people_get_a_table(starter: Any, make_film: Any) -> None:
    out, _ = predict(make_film(seed=1), make_film(seed=2, view_position="LL"))

    assert "Cardiomegaly" in out
    assert "not read: not-frontal" in out
    assert "Not for diagnostic use" in out


def test_without_a_version_it_says_what_to_do(db: None, make_film: Any) -> None:
    with pytest.raises(CommandError, match="operator must activate one"):
        predict(make_film(seed=1))
    with pytest.raises(CommandError, match="no version other:1"):
        predict(make_film(seed=1), reference="other:1")
    with pytest.raises(CommandError, match="name:number"):
        predict(make_film(seed=1), reference="other")


@pytest.mark.long
def test_a_compiled_copy_that_answers_wrongly_is_made_anew(starter: Any, as_png: Any, settings: Any) -> None:
    film = as_png(3)
    before = json.loads(predict(film, json=True)[0])
    graph = settings.MODEL_CACHE_DIR / "compiled" / f"{graph_key(Manifest.from_dict(starter.manifest))}.onnx"
    network = onnx.load(graph)
    head = next(each for each in network.graph.initializer if each.dims == [len(LABELS)])
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) + 0.01, head.name))
    onnx.save(network, graph)

    assert json.loads(predict(film, json=True)[0]) == before
