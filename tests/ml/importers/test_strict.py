"""Tests that files that do not fit are refused with a remedy."""

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from ml.importers import ImportRefused, Options, bundle, import_file
from ml.importers.assemble import _points, _saturated
from ml.importers.formats import Converted, convert
from ml.importers.keys import map_tensors
from ml.importers.outputs import Choice, choose
from ml.importers.source import Source, read_source
from ml.labels import LABELS
from ml.model.artifact import WEIGHTS, load_artifact
from ml.model.calibration import calibrate
from ml.model.manifest import MANIFEST, ArtifactInvalid, Threshold
from ml.model.networks import build
from ml.model.transforms import InputSpace
from ml.training.forward import Outputs
from tests.conftest import STARTER
from tests.ml import tiny
from tests.ml.importers import foreign

ARCHITECTURE = tiny.ARCHITECTURE


@pytest.fixture
def state() -> dict[str, Any]:
    """The tensors of a small timm network, under timm's names."""
    named = {key.removeprefix("features.body."): value.numpy() for key, value in tiny.network().state_dict().items()}
    return {key: np.array(value) for key, value in named.items()}


def stem(state: dict[str, Any]) -> np.ndarray:
    return state["conv_stem.weight"]


def test_what_fits_is_mapped_whole(state: dict[str, Any]) -> None:
    mapped = map_tensors(state, ARCHITECTURE)
    assert set(mapped.tensors) == set(tiny.network().state_dict())
    assert (mapped.outputs, mapped.one_channel, mapped.dropped) == (14, False, {})


def test_a_transformer_keeps_the_pooling_of_its_source() -> None:
    """Our mean over its tokens would take the same tensors, and answer otherwise."""
    torch.manual_seed(0)
    source = timm.create_model("test_vit", num_classes=14, img_size=96).eval()
    tensors = {name: value.numpy() for name, value in source.state_dict().items()}
    with pytest.raises(ImportRefused, match=r"--arch test_vit\+own"):
        map_tensors(tensors, "test_vit", size=96)
    mapped = map_tensors(tensors, "test_vit+own", size=96)
    network = build("test_vit+own", 14, size=96).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in mapped.tensors.items()})
    images = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        assert torch.allclose(network(images)[0], source(images), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("bn1.weight"), r"1 of \d+ tensors are missing \(body.bn1.weight"),
        (lambda s: s.update({"aux.weight": stem(s)}), "1 tensors have no place in .*aux.weight.*--drop"),
        (lambda s: s.update({"bn1.bias": np.zeros(3, np.float32)}), r"bn1.bias has shape \(3,\) instead of"),
        (lambda s: s.update({"module.bn1.bias": s["bn1.bias"]}), "Two tensors of the file would both become body.bn1"),
        (lambda s: stem(s).fill(np.nan), "conv_stem.weight holds NaN"),
        (lambda s: s["classifier.bias"].fill(np.inf), "classifier.bias holds NaN or infinity"),
        (lambda s: s.pop("classifier.weight"), "one linear head .*found none"),
        (lambda s: s.update({"fc.weight": s["classifier.weight"]}), "one linear head .*classifier.weight, fc.weight"),
        (lambda s: s.update({"classifier.bias": np.zeros(3, np.float32)}), "is not one linear layer"),
        (
            lambda s: s.update({"classifier.weight": s["classifier.weight"].astype(int)}),
            "holds int64.*save it as float",
        ),
        (lambda s: s.update({"classifier.weight": np.zeros((14, 9), np.float32)}), "takes 9 features"),
        (lambda s: s.update({"conv_stem.weight": np.zeros((8, 2, 3, 3), np.float32)}), "conv_stem.weight has shape"),
    ],
)
def test_what_does_not_fit(state: dict[str, Any], change: Callable[[Any], Any], reason: str) -> None:
    change(state)
    with pytest.raises(ImportRefused, match=reason):
        map_tensors(state, ARCHITECTURE)


def test_tensors_left_out_by_an_option(state: dict[str, Any]) -> None:
    state["ema.bn1.weight"] = state["bn1.weight"]
    mapped = map_tensors(state, ARCHITECTURE, drop=("ema.",))
    assert mapped.dropped == {"ema.bn1.weight": "left out by --drop"}


def test_another_architecture_than_named(state: dict[str, Any]) -> None:
    with pytest.raises(ImportRefused, match=r"no place in densenet121: conv_stem.weight.*--arch"):
        map_tensors(state, "densenet121")
    with pytest.raises(ImportRefused, match=r"those of none of densenet121, .*--arch"):
        map_tensors(state, None)
    with pytest.raises(ImportRefused, match="Unknown architecture 'chexnet9'"):
        map_tensors(state, "chexnet9")


@pytest.mark.parametrize("name", ["densenet169", "densenet201", "resnet50", "efficientnet_b0"])
def test_architectures_are_recognised_by_their_tensors(name: str) -> None:
    with torch.device("meta"):
        keys = getattr(models, name)(weights=None).state_dict()
    empty = {key: np.zeros(tuple(value.shape), np.float32) for key, value in keys.items()}
    mapped = map_tensors(empty, None)
    assert (mapped.architecture, mapped.outputs) == (name, 1000)


def test_vgg_has_no_exact_maps() -> None:
    with torch.device("meta"):
        keys = models.vgg16(weights=None).state_dict()
    with pytest.raises(ImportRefused, match="exact class activation maps"):
        map_tensors({key: np.zeros((1, 1), np.float32) for key in keys}, "vgg16")


def test_outputs_are_mapped_by_name() -> None:
    chosen = choose(("hernia", "", "Lung Lesion", "Pleural Thickening", "Effusion"), 5)
    assert (chosen.labels, chosen.rows) == (("Effusion", "Pleural_Thickening", "Hernia"), (4, 3, 0))
    assert chosen.dropped == ("output 2, not trained", "Lung Lesion")
    for names, outputs, reason in (
        (LABELS, 18, "18 outputs, but 14 names"),
        (("Effusion", "Pleural Effusion"), 2, "Two outputs are named Effusion"),
        (("Fracture", ""), 2, "None of the outputs"),
    ):
        with pytest.raises(ImportRefused, match=reason):
            choose(names, outputs)


def of_layers(layers: dict[str, str]) -> Source:
    return Source("x.pt", {}, {"layers": layers})


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ({"classifier.1": "torch.nn.modules.activation.ReLU"}, r"head holds a ReLU \(classifier.1\)"),
        ({"module.fc": "torchxrayvision.models.Odd"}, "head holds a Odd"),
        ({"features.relu0": "torch.nn.modules.activation.Tanh"}, "features.relu0 is a Tanh"),
    ],
)
def test_a_module_that_computes_something_else(layers: dict[str, str], reason: str) -> None:
    with pytest.raises(ImportRefused, match=reason):
        convert(of_layers(layers), Options("chexnet", "x"))


def test_formats_refuse_the_wrong_number_of_channels(state: dict[str, Any]) -> None:
    three, one = dict(state), {**state, "conv_stem.weight": stem(state)[:, :1]}
    with pytest.raises(ImportRefused, match="takes three channels"):
        convert(Source("x", three), Options("xrv", "x", architecture=ARCHITECTURE))
    with pytest.raises(ImportRefused, match="takes one channel"):
        convert(Source("x", one), Options("chexnet", "x", architecture=ARCHITECTURE))
    with pytest.raises(ImportRefused, match="--mean takes one value or three"):
        convert(Source("x", three), Options("state-dict", "x", architecture=ARCHITECTURE, mean=(0.1, 0.2)))
    with pytest.raises(ImportRefused, match="Input size 8"):
        convert(Source("x", three), Options("state-dict", "x", architecture=ARCHITECTURE, size=8))


def test_bad_thresholds(state: dict[str, Any]) -> None:
    one = {**state, "conv_stem.weight": stem(state)[:, :1]}
    options = Options("xrv", "x", architecture=ARCHITECTURE, labels=LABELS)
    for values, reason in ((np.full(14, 1.5), "threshold of Atelectasis is 1.5"), (np.ones(3), "thresholds of shape")):
        with pytest.raises(ImportRefused, match=reason):
            convert(Source("x", {**one, "op_threshs": values.astype(np.float32)}), options)


def test_buffers_that_torch_would_not_save_are_left_out(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    network.register_buffer("kept", torch.ones(2))
    network.register_buffer("scratch", torch.ones(3), persistent=False)
    read = read_source(foreign.save(network, tmp_path / "module.pt"))
    assert set(read.tensors) == set(network.state_dict()) == {"0.weight", "0.bias", "kept"}


def test_every_kind_of_number_is_read(tmp_path: Path) -> None:
    value: dict[str, Tensor] = {
        str(kind): torch.tensor([[1, 2], [3, 0]]).to(kind).T
        for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    }
    for stream in (False, True):
        read = read_source(foreign.save(value, tmp_path / "numbers.pt", stream=stream))
        for kind, held in value.items():
            assert np.array_equal(read.tensors[kind], held.float().numpy()), kind


def packed(folder: Path, kind: str, *, prefix: str = "", extra: dict[str, bytes] | None = None) -> Path:
    path = folder.parent / f"bundle.{kind}"
    files = {f"{prefix}{name}": (folder / name).read_bytes() for name in (MANIFEST, WEIGHTS)} | (extra or {})
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, f"w:{kind.removeprefix('tar.')}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.artifact(tmp_path / "tiny")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    made.mkdir()
    return made


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize("prefix", ["", "starter/"])
def test_a_bundle_is_the_same_version(folder: Path, out: Path, kind: str, prefix: str) -> None:
    source = folder if kind == "folder" else packed(folder, kind, prefix=prefix, extra={"README": b"read me"})
    imported = import_file(source, Options("bundle", "x"), out)
    assert load_artifact(out).sha256 == load_artifact(folder).sha256 == imported.manifest.sha256
    assert {path.name for path in out.iterdir()} == {MANIFEST, WEIGHTS}


def test_a_bundle_whose_input_space_was_changed(tmp_path: Path, out: Path) -> None:
    folder = shutil.copytree(STARTER, tmp_path / "starter")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["input_space"]["mean"] = [0.1, 0.2, 0.3]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactInvalid, match="golden-mismatch"):
        import_file(folder, Options("bundle", "x"), out)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", f"../{WEIGHTS}", f"/{MANIFEST}", "..\\evil"])
def test_an_archive_that_reaches_outside(folder: Path, out: Path, kind: str, name: str) -> None:
    with pytest.raises(ImportRefused, match="outside itself"):
        import_file(packed(folder, kind, extra={name: b"x"}), Options("bundle", "x"), out)
    assert not (out.parent / "evil").exists()


def test_other_bad_bundles(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(source: Path) -> str:
        with pytest.raises(ImportRefused) as caught:
            import_file(source, Options("bundle", "x"), out)
        return str(caught.value)

    assert "more than once" in reason(packed(folder, "zip", extra={f"again/{MANIFEST}": b"{}"}))
    assert "over 100 entries" in reason(packed(folder, "tar.gz", extra={str(n): b"" for n in range(100)}))
    with tarfile.open(folder.parent / "link.tar", "w") as archive:
        member = tarfile.TarInfo(WEIGHTS)
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    assert "link" in reason(folder.parent / "link.tar")
    (folder.parent / "text.zip").write_text("no archive")
    assert "neither a .zip nor a .tar" in reason(folder.parent / "text.zip")
    assert "existing path" in reason(folder.parent / "absent.zip")
    whole = packed(folder, "zip")
    whole.write_bytes(whole.read_bytes()[:-200])
    assert "neither a .zip" in reason(whole)
    for kind in ("zip", "tar.xz"):
        damaged = packed(folder, kind)
        damaged.write_bytes(damaged.read_bytes()[:200] + bytes(100) + damaged.read_bytes()[300:])
        assert "neither a .zip" in reason(damaged)
    monkeypatch.setitem(bundle.LIMITS, WEIGHTS, 1000)
    assert "over 0 MiB" in reason(packed(folder, "tar.gz"))
    (folder / WEIGHTS).unlink()
    assert f"no {WEIGHTS}" in reason(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 30\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title></html>", "web page"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_remains_of_a_failed_download(tmp_path: Path, content: bytes, reason: str, suffix: str) -> None:
    (tmp_path / f"model{suffix}").write_bytes(content)
    with pytest.raises(ImportRefused, match=reason):
        read_source(tmp_path / f"model{suffix}")


def test_outputs_that_are_certain_of_every_image_are_noted() -> None:
    logits = np.array([[50.0, 1.0, -30.0], [40.0, -2.0, -10.0]], np.float32)
    trial = Outputs(logits, np.zeros((2, 3, 7, 7), np.float32), np.zeros((2, 4), np.float32))
    (note,) = _saturated(trial, LABELS[:3])
    assert note.startswith(f"WARNING: certain of every synthetic film, so of no use as it is: {LABELS[0]}.")


def test_a_calibrated_threshold_keeps_the_same_images_positive() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-3, 1, (400, 2)).astype(np.float32)
    truth = (rng.random((400, 2)) < 1 / (1 + np.exp(-2 * logits - 5))).astype(np.float32)
    made = Converted(
        "x",
        InputSpace(64),
        Choice(("Effusion", "Mass"), (0, 1), ()),
        {},
        {},
        {"Mass": Threshold(0.05, "imported", None)},
    )
    calibration, thresholds, notes = _points(made, Outputs(logits, logits[..., None, None], logits), truth)
    assert calibration["Mass"].a != 1.0
    effusion, mass = thresholds["Effusion"], thresholds["Mass"]
    assert effusion is not None
    assert mass is not None
    assert (effusion.strategy, mass.strategy, notes) == ("youden", "imported", {})
    before = 1 / (1 + np.exp(-logits[:, 1].astype(float))) >= 0.05
    after = calibrate(logits[:, 1:], ["Mass"], calibration)[:, 0] >= mass.value
    assert np.array_equal(before, after)
    assert 0 < before.sum() < 400
