"""POST /predict with the shipped model: inputs, outputs, and that nothing is stored."""

import base64
import gzip
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.test import Client
from PIL import Image
from safetensors.numpy import load_file

from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.deployment.points import PointChoice
from apps.deployment.services import activate, set_points
from apps.inference.serving import version_cache
from apps.registry.services import register
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from apps.tenants.services import create_api_key
from ml.labels import LABELS
from ml.model.artifact import load_artifact, save_artifact
from tests.api.predicting import FORM, PATH, SIZE, ask, dicom, form, npy, png, tensor
from tests.conftest import STARTER

NPY = "application/x-npy"


def probabilities(entry: dict[str, Any]) -> dict[str, float]:
    return {finding["label"]: finding["probability"] for finding in entry["findings"]}


def files_left() -> list[Path]:
    return [path for path in settings.SPOOL_DIR.rglob("*") if path.is_file()]


def test_every_kind_of_film_gets_the_contracts_json(north: Any, serving: Any) -> None:
    for kind, body in (("application/dicom", dicom()), ("image/png", png())):
        answer = ask(north.bearer, body, kind)

        assert answer.status_code == 200, answer.content
        assert answer["Cache-Control"] == "private, no-store"
        (entry,) = answer.json()
        assert set(entry) == {"file", "model_version", "gate", "findings", "abnormal", "warnings", "intended_use"}
        assert entry["model_version"] == str(serving)
        assert entry["gate"] == {"accepted": True, "reason": None, "detail": ""}
        assert {finding["label"] for finding in entry["findings"]} == set(LABELS)
        values = [finding["probability"] for finding in entry["findings"]]
        assert values == sorted(values, reverse=True)
        for finding in entry["findings"]:
            assert set(finding) == {"label", "probability", "threshold", "positive", "uncertain", "localisation"}
            has_point = finding["threshold"] is not None
            assert finding["positive"] == (has_point and finding["probability"] >= finding["threshold"])


def test_what_was_preprocessed_is_read_like_the_film(north: Any, serving: Any) -> None:
    seeds = (1, 2, 3)
    space = Client().get("/api/v1/models/starter/1/", headers=north.bearer).json()["input_space"]
    array = npy(tensor(seeds, serving.manifest["input_space"]))

    (raw, *_), images = (
        ask(north.bearer, png(1), "image/png").json(),
        ask(north.bearer, array, NPY, "?heatmaps=true").json(),
    )
    squeezed = ask(north.bearer, gzip.compress(array), NPY, **{"Content-Encoding": "gzip"}).json()

    assert (space["size"], space["dtype"], space["layout"]) == (SIZE, "float32", "NCHW")
    assert len(images) == len(squeezed) == 3
    theirs, ours = probabilities(raw), probabilities(images[0])
    assert max(abs(theirs[label] - ours[label]) for label in LABELS) <= 1e-4
    assert [probabilities(each) for each in squeezed] == [probabilities(each) for each in images]
    assert images[0]["file"] is None
    assert "heatmap" in images[0]["findings"][0]


def test_a_bad_film_fails_none_of_its_neighbours(north: Any, serving: Any) -> None:
    body = form([
        ("a", "first.png", png(1)),
        ("b", "notes.txt", b"no film"),
        ("a", "lateral.dcm", dicom(2, view_position="LL")),
        ("c", "../../etc/last.png", png(3)),
    ])  # fmt: skip

    answer = ask(north.bearer, body, FORM)

    assert answer.status_code == 200, answer.content
    first, notes, lateral, last = answer.json()
    assert [each["file"] for each in (first, notes, lateral, last)] == [
        "first.png", "notes.txt", "lateral.dcm", "last.png",
    ]  # fmt: skip
    assert first["findings"]
    assert last["findings"]
    assert (notes["gate"]["reason"], notes["findings"]) == ("format-not-recognised", [])
    assert (lateral["gate"]["reason"], lateral["findings"]) == ("not-frontal", [])
    alone = ask(north.bearer, png(3), "image/png").json()[0]
    assert max(abs(probabilities(alone)[each] - probabilities(last)[each]) for each in LABELS) <= 1e-6
    assert files_left() == []


def test_heatmaps_are_pictures_in_the_films_proportions(north: Any, serving: Any) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(png(1))).crop((0, 0, 512, 400)).save(out, "PNG")

    (entry,) = ask(north.bearer, out.getvalue(), "image/png", "?heatmaps=true").json()

    maps = [finding["heatmap"] for finding in entry["findings"]]
    assert any(maps), "no map of 14"
    for finding in entry["findings"]:
        if finding["positive"]:
            assert finding["heatmap"]
    for uri in filter(None, maps):
        head, _, data = uri.partition(",")
        assert head == "data:image/png;base64"
        overlay = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (overlay.mode, overlay.size) == ("RGBA", (320, 250))


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"no film at all", "image/png", 400, "format-not-recognised"),
        (b"", "image/png", 400, "no-images"),
        (png(1)[:3000], "image/png", 400, "decode-failed"),
        (b"GIF89a", "image/gif", 415, "unsupported-media-type"),
        (b"x", "", 415, "unsupported-media-type"),
        (form([]), FORM, 400, "no-images"),
        (form([("a", "x.png", b"x"), ("a", "y.png", b"y")]), FORM, 400, "format-not-recognised"),
        (b"no boundary in it", FORM, 400, "no-images"),
        (b"x", "multipart/form-data", 400, "multipart-malformed"),
    ],
)
def test_what_cannot_be_read_is_a_problem(
    north: Any, serving: Any, body: bytes, kind: str, status: int, code: str
) -> None:
    answer = ask(north.bearer, body, kind)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert files_left() == []


def good(count: int = 1) -> np.ndarray:
    return np.zeros((count, 3, SIZE, SIZE), np.float32)


def with_value(value: float) -> np.ndarray:
    images = good()
    images[0, 1, 7, 7] = value
    return images


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "npy-invalid"),
        (b"\x93NUMPY", "npy-invalid"),
        (b"\x93NUMPY\x03\x00" + npy(good())[8:], "npy-invalid"),
        (npy(good())[:-4], "npy-invalid"),
        (npy(good()) + b"1234", "npy-invalid"),
        (npy(good().astype(np.float64)), "tensor-type"),
        (npy(good().astype(">f4")), "tensor-type"),
        (npy(np.asfortranarray(np.ones((2, 3, SIZE, SIZE), np.float32))), "tensor-type"),
        (npy(np.zeros(3, [("a", "<f4")])), "tensor-type"),
        (npy(np.zeros((1, 1, SIZE, SIZE), np.float32)), "tensor-shape"),
        (npy(np.zeros((3, SIZE, SIZE), np.float32)), "tensor-shape"),
        (npy(np.zeros((1, 3, 224, 224), np.float32)), "tensor-shape"),
        (npy(good(0)), "no-images"),
        (npy(good(33)), "too-many-images"),
        (npy(with_value(float("nan"))), "tensor-values"),
        (npy(with_value(float("inf"))), "tensor-values"),
        (npy(with_value(128.0)), "tensor-values"),
    ],
)
def test_an_array_that_is_no_film_is_a_problem(north: Any, serving: Any, body: bytes, code: str, settings: Any) -> None:
    answer = ask(north.bearer, body, NPY)

    assert answer.json()["code"] == code, answer.content
    assert answer.status_code == (413 if code == "too-many-images" else 400)


def test_an_array_of_another_order_or_range_hears_which(north: Any, serving: Any) -> None:
    fortran = ask(north.bearer, npy(np.asfortranarray(np.ones((2, 3, SIZE, SIZE), np.float32))), NPY)
    bright = ask(north.bearer, npy(with_value(128.0)), NPY)

    assert "not <f4 in Fortran order" in fortran.json()["detail"]
    assert " to 128, and a film gives " in bright.json()["detail"]


def test_a_pickle_in_an_array_is_never_opened(north: Any, serving: Any) -> None:
    out = io.BytesIO()
    np.save(out, np.array([print], dtype=object), allow_pickle=True)

    assert ask(north.bearer, out.getvalue(), NPY).json()["code"] == "tensor-type"


def test_a_gzip_bomb_stops_at_the_limit(north: Any, serving: Any) -> None:
    bomb = gzip.compress(bytes(settings.PREDICT_MAX_TENSOR_BYTES + 1))

    answer = ask(north.bearer, bomb, NPY, **{"Content-Encoding": "gzip"})
    cut = ask(north.bearer, gzip.compress(npy(good()))[:-20], NPY, **{"Content-Encoding": "gzip"})
    film = ask(north.bearer, gzip.compress(png()), "image/png", **{"Content-Encoding": "gzip"})

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert (cut.status_code, cut.json()["code"]) == (400, "upload-cut-off")
    assert film.status_code == 415


def test_limits_say_what_they_are(north: Any, serving: Any, settings: Any) -> None:
    settings.PREDICT_MAX_IMAGES = 2
    many = ask(north.bearer, form([("a", f"{n}.png", png()) for n in range(3)]), FORM)
    settings.MAX_INSTANCE_BYTES = 1000
    large = ask(north.bearer, png(), "image/png")
    settings.PREDICT_MAX_HEATMAP_IMAGES = 1
    maps = ask(north.bearer, npy(good(2)), NPY, "?heatmaps=true")

    assert (many.status_code, many.json()["code"]) == (413, "too-many-images")
    assert large.status_code == 413
    assert (maps.status_code, maps.json()["code"]) == (413, "too-many-images")
    assert files_left() == []


def test_a_version_may_be_named(north: Any, serving: Any) -> None:
    named = ask(north.bearer, png(), "image/png", "?model_version=starter:1")
    unknown = ask(north.bearer, png(), "image/png", "?model_version=starter:999999999")
    odd = [ask(north.bearer, png(), "image/png", f"?model_version={each}") for each in ("starter", "starter:²", "a:1:")]
    typo = ask(north.bearer, png(), "image/png", "?heatmap=true")

    assert named.json()[0]["model_version"] == "starter:1"
    assert unknown.status_code == 404
    assert [each.status_code for each in odd] == [400, 400, 400]
    assert odd[0].json()["detail"].startswith("model_version: ")
    reason = "There is no such parameter. There are: model_version, heatmaps."
    assert typo.json()["detail"] == f"heatmap: {reason}"
    assert (typo.status_code, typo.json()["errors"]) == (400, {"heatmap": [reason]})


def test_without_a_version_in_service_it_says_what_to_do(north: Any) -> None:
    answer = ask(north.bearer, png(), "image/png")

    assert (answer.status_code, answer.json()["code"]) == (503, "no-model-in-service")
    assert "activate" in answer.json()["detail"]
    assert answer["Retry-After"]


def test_nothing_is_kept_but_a_line_in_the_trail(north: Any, serving: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    body = form([
        ("a", "CANARY-NAME.dcm", dicom(1, patient_name="CANARY^PATIENT")),
        ("a", "CANARY-NAME.txt", b"CANARY"),
    ])  # fmt: skip

    assert ask(north.bearer, body, FORM).status_code == 200

    with tenant_tx(north.tenant.id):
        assert Study.objects.count() == 0
        (event,) = AuditEvent.objects.exclude(action=AuditEvent.Action.MODEL_ACTIVATED)
        assert (event.action, event.actor, event.object_id, event.amount) == (
            AuditEvent.Action.IMAGES_PREDICTED, "api:pacs", serving.pk, 2,
        )  # fmt: skip
    assert files_left() == []
    assert "CANARY" not in caplog.text


def test_a_key_needs_the_scope(north: Any, serving: Any) -> None:
    with tenant_tx(north.tenant.id):
        _, reader = create_api_key(name="reader", scopes=["studies.read"])
    answer = ask({"authorization": f"Bearer {reader}"}, png(), "image/png")

    assert answer.status_code == 403
    assert "scope predict" in answer.json()["detail"]
    assert ask({}, png(), "image/png").status_code == 401
    assert Client().get(PATH, headers=north.bearer).status_code == 405


@pytest.mark.parametrize("kind", [NPY, FORM])
def test_a_member_needs_the_token_against_forgery(north: Any, serving: Any, sign_in: Any, kind: str) -> None:
    body = npy(good()) if kind == NPY else form([("a", "x.png", png())])
    browser = Client(enforce_csrf_checks=True)
    browser.cookies = sign_in(north, north.radiologist).cookies
    browser.cookies["csrftoken"] = "a" * 32

    without = ask({}, body, kind, client=browser)
    with_it = ask({"x-csrftoken": "a" * 32}, body, kind, client=browser)

    assert without.status_code == 403
    assert "CSRF" in without.json()["detail"]
    assert with_it.status_code == 200, with_it.content


def test_each_hospital_is_answered_by_its_own_version_and_operating_points(
    north: Any, south: Any, serving: Any, tmp_path: Path
) -> None:
    other = recalibrated(tmp_path)
    activate(version=other, by=Actor(name="test"), tenant=south.tenant, reason="trial")
    choice = PointChoice("manual", value=0.123, reason="few radiologists at night")
    set_points(tenant=north.tenant, version=serving, choices={"Effusion": choice}, recent={}, by=Actor(name="test"))
    version_cache().request(other).result(240)

    points = {}
    for hospital, version in ((north, serving), (south, other)):
        (entry,) = ask(hospital.bearer, png(), "image/png").json()
        assert entry["model_version"] == str(version)
        points[hospital.tenant.slug] = {each["label"]: each["threshold"] for each in entry["findings"]}
        path = f"/api/v1/models/{version.name}/{version.number}/"
        described = Client().get(path, headers=hospital.bearer).json()
        assert described["in_service"]
        assert described["thresholds"]["Effusion"]["value"] == points[hospital.tenant.slug]["Effusion"]
    assert points["north"] == thresholds_of(serving) | {"Effusion": 0.123}
    assert points["south"] == thresholds_of(other)


def thresholds_of(version: Any) -> dict[str, float | None]:
    return {label: point["value"] if point else None for label, point in version.thresholds.items()}


def recalibrated(folder: Path) -> Any:
    """The shipped network as another version, which scores lower."""
    artifact = load_artifact(STARTER)
    tensors = load_file(artifact.weights_path)
    lower = {label: replace(fit, b=fit.b - 1) for label, fit in artifact.manifest.calibration.items()}
    check = artifact.feature_check
    network = {name: value for name, value in tensors.items() if not name.startswith("gate.")}
    save_artifact(folder / "other", replace(artifact.manifest, calibration=lower), network, check)
    return register(artifact_dir=folder / "other", name="other")
