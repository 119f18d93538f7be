"""The reader of images: the same result on every path, one image's failure costs no other, and threads may share it."""

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from PIL import Image, ImageOps

from apps.inference.calls import calls
from apps.inference.loading import load_version
from apps.inference.models import Finding
from apps.inference.prediction import ImageFile, read_files
from apps.inference.reader import ImageReader
from apps.inference.serving import version_cache
from apps.registry.engine import LABELS, Predictor, Sandbox
from apps.registry.models import ModelVersion
from apps.tenants.scope import tenant_tx
from apps.trials.preview import read_with_candidate
from tests.api.predicting import FORM, ask, form, png
from tests.conftest import Hospital
from tests.workers.loading import second

__all__ = ["second"]


def probabilities(entry: dict[str, Any]) -> dict[str, float]:
    return {finding["label"]: finding["probability"] for finding in entry["findings"]}


@pytest.fixture
def serving(starter: ModelVersion) -> ModelVersion:
    """The version in service, loaded for /predict."""
    return version_cache().request(starter).result(240).version


def test_worker_predict_command_and_preview_give_the_same_probabilities(
    serving: ModelVersion, second: ModelVersion, north: Hospital, make_film: Callable[..., Path],
    send: Callable[..., Any], read_studies: Callable[[], int],
) -> None:  # fmt: skip
    film, out = make_film(seed=5, findings=("Effusion",)), io.StringIO()
    send(north, film.read_bytes())
    assert read_studies() == 1
    with tenant_tx(north.tenant.id):
        by_worker = dict(Finding.objects.values_list("label", "probability"))
    (answer,) = ask(north.bearer, film.read_bytes(), "application/dicom").json()
    call_command("predict", str(film), json=True, stdout=out)
    # The candidate has the same network as the version in service.
    _, read = read_with_candidate(tenant=north.tenant, version=second, last=1, progress=lambda done, of: None)

    assert len(by_worker) == len(serving.manifest["labels"])
    assert probabilities(answer) == by_worker
    assert json.loads(out.getvalue())[0]["findings"] == answer["findings"]
    assert {label: value for label, (value,) in read.candidate.items()} == by_worker


def test_one_image_that_breaks_the_network_costs_no_other_its_result(
    serving: ModelVersion, north: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = ask(north.bearer, png(2), "image/png").json()
    real, breaking = Predictor.predict, list[bytes]()

    def predict(self: Predictor, batch: Any) -> Any:
        breaking.extend([batch[0].tobytes()] if not breaking else [])
        if any(tensor.tobytes() in breaking for tensor in batch):
            raise RuntimeError("out of memory")
        return real(self, batch)

    monkeypatch.setattr(Predictor, "predict", predict)
    bad, good = ask(north.bearer, form([("a", "1.png", png(1)), ("a", "2.png", png(2))]), FORM).json()
    assert (bad["gate"]["reason"], bad["findings"]) == ("inference-error", [])
    assert probabilities(good) == probabilities(whole)


def test_a_device_that_fails_is_no_fault_of_an_image(
    serving: ModelVersion, north: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Predictor, batch: Any) -> Any:
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(Predictor, "predict", fail)
    answer = ask(north.bearer, png(1), "image/png")
    assert (answer.status_code, answer.json()["code"]) == (503, "device-failed")


@pytest.fixture
def reader() -> Iterator[ImageReader]:
    with closing(ImageReader(Sandbox(workers=settings.DECODER_PROCESSES))) as made:
        yield made


def test_threads_share_a_reader_and_a_predictor(starter: ModelVersion, reader: ImageReader, tmp_path: Path) -> None:
    files = []
    for seed in range(6):
        files.append(ImageFile(str(seed), tmp_path / f"{seed}.png"))
        files[-1].path.write_bytes(png(seed))
    predictor = load_version(starter, device="cpu")

    def read(given: list[ImageFile]) -> dict[str | None, dict[str, float]]:
        return {each.name: each.probabilities for each in read_files(given, predictor, reader, batch=2)}

    alone = read(files)
    assert all(alone.values())
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read, [files, files[::-1]] * 2)) == [alone] * 4


def test_a_film_is_also_read_mirrored_and_zoomed_where_that_is_asked_for(
    serving: ModelVersion, tmp_path: Path, settings: Any
) -> None:
    settings.INFERENCE_VARIED_READINGS = True
    predictor = load_version(serving, device="cpu")
    size = predictor.manifest.input_space.size
    grey = Image.open(io.BytesIO(png(3))).convert("L").resize((size, size))
    grey.save(tmp_path / "plain.png")
    ImageOps.mirror(grey).save(tmp_path / "mirrored.png")
    files = [ImageFile(name, tmp_path / name) for name in ("plain.png", "mirrored.png")]
    with closing(ImageReader(Sandbox(workers=1))) as reader:
        plain, mirrored = read_files(files, predictor, reader, batch=2)
    assert len(plain.varied) == 2
    assert plain.varied[0] == pytest.approx(mirrored.probabilities, abs=1e-6)
    label = max(plain.probabilities, key=lambda name: abs(plain.probabilities[name] - plain.varied[0][name]))
    between = (plain.probabilities[label] + plain.varied[0][label]) / 2
    found = {call.label: call for call in calls(plain.probabilities, {**dict.fromkeys(LABELS), label: between}, None)}
    doubted = calls(plain.probabilities, {**dict.fromkeys(LABELS), label: between}, None, plain.varied)
    assert not found[label].uncertain
    assert [call.label for call in doubted if call.uncertain] == [label]
