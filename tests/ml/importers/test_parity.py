"""Tests that imported networks give the outputs of their own libraries: logits, activation maps, whole pipeline."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms

from ml.importers import ImportRefused, Options, import_file
from ml.importers.formats import Converted, convert
from ml.importers.source import read_source
from ml.labels import LABELS
from ml.model.artifact import load_artifact
from ml.model.networks import build
from ml.model.predictor import load_predictor
from ml.model.saliency import identity_error
from ml.model.transforms import InputSpace, to_square
from ml.training.forward import run
from tests.ml.importers import foreign

TOLERANCE = 1e-4


def converted(path: Path, kind: str, **more: Any) -> Converted:
    options = Options(kind, "test", **more)  # type: ignore[arg-type]
    return convert(read_source(path), options)


def outputs(made: Converted, pictures: NDArray[np.uint8]) -> Any:
    network = build(made.architecture, len(made.choice.labels)).eval()
    network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in made.tensors.items()})
    result = run(network, pictures, made.space)
    assert identity_error(result.logits, result.cams, network.classifier.bias.detach().numpy()) <= TOLERANCE
    return result


def assert_same(ours: NDArray[Any], theirs: Tensor) -> None:
    expected = theirs.detach().numpy()
    assert expected.std(axis=0).min() > 1e-2, "the synthetic network says the same of every film"
    assert np.abs(ours - expected).max() <= TOLERANCE


def by_name(names: Any, values: Tensor, made: Converted) -> Tensor:
    return values[:, [list(names).index(label) for label in made.choice.labels]]


def test_xrv_pickled_module(tmp_path: Path) -> None:
    network = copy.deepcopy(foreign.xrv_densenet())
    network.targets = network.pathologies = list(foreign.xrv.datasets.default_pathologies)
    thresholds = torch.linspace(0.02, 0.4, 18)
    thresholds[13] = torch.nan
    network.op_threshs = thresholds
    made = converted(foreign.save(network, tmp_path / "own.pt"), "xrv")
    assert made.architecture == "densenet121"
    assert made.choice.labels == LABELS
    assert set(made.dropped) == {"Lung Lesion", "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum"}
    pictures = foreign.squares()
    images = foreign.xrv_input(pictures)
    with torch.no_grad():
        features = network.features2(images)
        logits = network.classifier(features)
        theirs = network(images)
    ours = outputs(made, pictures)
    assert_same(ours.logits, by_name(network.targets, logits, made))
    assert np.abs(ours.features - features.numpy()).max() <= TOLERANCE
    own_order = dict(zip(network.targets, thresholds.tolist(), strict=True))
    assert {k: t.value for k, t in made.thresholds.items()} == pytest.approx(
        {label: own_order[label] for label in LABELS if label != "Hernia"}
    )
    # Their output is our probability, rescaled by the imported threshold.
    p = torch.sigmoid(torch.from_numpy(ours.logits))
    t = torch.tensor([own_order[label] for label in LABELS])
    expected = torch.where(t.isnan(), 0.5, torch.where(p < t, p / (2 * t), 1 - (1 - p) / (2 * (1 - t))))
    assert (expected - by_name(network.targets, theirs, made)).abs().max() <= TOLERANCE


def test_xrv_release_file_of_an_old_torch(tmp_path: Path) -> None:
    network = copy.deepcopy(foreign.xrv_densenet())
    for module in network.modules():
        del module._non_persistent_buffers_set
    path = foreign.save(network, tmp_path / "nih-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt", stream=True)
    made = converted(path, "xrv")
    release = foreign.xrv.models.model_urls["nih"]
    stated = dict(zip(release["labels"], release["op_threshs"], strict=True))
    assert {label: point.value for label, point in made.thresholds.items()} == {
        label: stated[label] for label in LABELS
    }
    assert set(made.dropped) == {f"output {row}, not trained" for row in range(15, 19)}
    with torch.no_grad():
        logits = network(foreign.xrv_input(foreign.squares()))
    assert_same(outputs(made, foreign.squares()).logits, by_name(release["labels"], logits, made))


def test_xrv_release_with_few_labels(tmp_path: Path) -> None:
    path = foreign.save(foreign.xrv_densenet(), tmp_path / "renamed.pt")
    made = converted(path, "xrv", release="densenet121-res224-rsna")
    assert made.choice.labels == ("Pneumonia",)
    assert len(made.choice.absent) == 13
    with pytest.raises(ImportRefused, match="densenet121-res224-nih"):
        converted(path, "xrv", release="densenet121-res224-mars")


def test_all_releases_are_as_the_library_states_them() -> None:
    from ml.importers.xrv_releases import PATHOLOGIES, RELEASES

    for name, release in RELEASES.items():
        stated = foreign.xrv.models.model_urls[name]
        assert stated["weights_url"].rsplit("/", 1)[1].startswith(release.file)
        assert [label if label in release.labels else "" for label in PATHOLOGIES] == stated["labels"]
        points = {n: t for n, t in zip(PATHOLOGIES, stated["op_threshs"], strict=True) if not np.isnan(t)}
        assert (release.thresholds, release.size) == (points, stated["input_resolution"])


def test_xrv_resnet_state(tmp_path: Path) -> None:
    network = foreign.xrv_resnet()
    path = tmp_path / "pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt"
    made = converted(foreign.save(network.state_dict(), path), "xrv")
    assert (made.architecture, made.space.size, made.choice.labels) == ("resnet50", 512, LABELS)
    # 0.51570356 was chosen on sigmoid(sigmoid(z)).
    assert made.thresholds["Atelectasis"].value == pytest.approx(0.0628, abs=1e-4)
    assert torch.sigmoid(torch.tensor(made.thresholds["Nodule"].value)).item() == pytest.approx(0.510706, abs=1e-6)
    with torch.no_grad():
        logits = network(foreign.xrv_input(foreign.squares()))
    names = foreign.xrv.models.model_urls["resnet50-res512-all"]["labels"]
    assert_same(outputs(made, foreign.squares()).logits, by_name(names, logits, made))


def test_chexnet_checkpoint_in_old_names(tmp_path: Path) -> None:
    network = foreign.chexnet()
    state = foreign.old_names(network.state_dict())
    assert "module.densenet121.features.denseblock1.denselayer1.norm.1.weight" in state
    value = {
        "epoch": 3,
        "state_dict": state,
        "best_loss": np.float64(0.2),
        "optimizer": {"state": {}, "param_groups": []},
    }
    made = converted(foreign.save(value, tmp_path / "model.pth.tar", stream=True), "chexnet")
    with torch.no_grad():
        theirs = network(foreign.imagenet_input(foreign.squares()))
    ours = torch.sigmoid(torch.from_numpy(outputs(made, foreign.squares()).logits))
    assert_same(ours.numpy(), theirs)


def test_chexnet_whole_module_in_a_checkpoint(tmp_path: Path) -> None:
    network = foreign.chexnet()
    value = {
        "model": network,
        "best_loss": torch.tensor(0.15),
        "epoch": 6,
        "rng_state": torch.get_rng_state(),
        "LR": 0.01,
    }
    source = read_source(foreign.save(value, tmp_path / "checkpoint"))
    assert set(source.facts["ignored"]) == {"best_loss", "epoch", "rng_state", "LR"}
    made = convert(source, Options("chexnet", "test"))
    images = foreign.imagenet_input(foreign.squares())
    with torch.no_grad():
        maps = functional.relu(network.features(images))  # type: ignore[operator]
        linear: nn.Linear = network.classifier[0]  # type: ignore[index,assignment]
        cams = torch.einsum("lc,nchw->nlhw", linear.weight, maps)
        logits = linear(maps.mean(dim=(2, 3)))
    ours = outputs(made, foreign.squares())
    assert_same(ours.logits, logits)
    assert np.abs(ours.cams - cams.numpy()).max() <= TOLERANCE


def test_state_dict_of_efficientnet_with_labels_in_another_order(tmp_path: Path) -> None:
    network = foreign.efficientnet()
    path = foreign.save({"model": network.state_dict()}, tmp_path / "b0.pth")
    order = tuple(reversed(LABELS))
    made = converted(path, "state-dict", labels=order)
    assert made.architecture == "efficientnet_b0"
    with torch.no_grad():
        logits = network(foreign.imagenet_input(foreign.squares()))
    assert_same(outputs(made, foreign.squares()).logits, logits.flip(1))


def test_state_dict_in_safetensors(tmp_path: Path) -> None:
    state = {k.replace("classifier.0.", "classifier."): v for k, v in foreign.chexnet().state_dict().items()}
    save_file(state, tmp_path / "densenet.safetensors")
    made = converted(tmp_path / "densenet.safetensors", "state-dict")
    assert any("order of ChestX-ray14" in note for note in made.notes)
    with torch.no_grad():
        theirs = foreign.chexnet()(foreign.imagenet_input(foreign.squares()))
    assert_same(torch.sigmoid(torch.from_numpy(outputs(made, foreign.squares()).logits)).numpy(), theirs)


TINY: dict[str, Any] = {
    "architecture": "test_efficientnet",
    "labels": ("No Finding", "Pleural Effusion", "Lung Lesion", "edema", "Cardiomegaly"),
}


def tiny() -> Any:
    """timm's smallest network with TorchXRayVision's input."""
    torch.manual_seed(4)
    network = timm.create_model("test_efficientnet", num_classes=5, in_chans=1)
    foreign.alive(network, foreign.xrv_input(foreign.squares(64)), network.classifier)
    return network


def test_state_dict_of_timm_with_one_channel(tmp_path: Path) -> None:
    network = tiny()
    path = foreign.save(network.state_dict(), tmp_path / "tiny.pt")
    with pytest.raises(ImportRefused, match="--mean and --std"):
        converted(path, "state-dict", **TINY)
    made = converted(path, "state-dict", **TINY, mean=(0.5,), std=(1 / 2048,), size=64)
    assert made.choice.labels == ("Cardiomegaly", "Effusion", "Edema")
    with torch.no_grad():
        logits = network(foreign.xrv_input(foreign.squares(64)))
    assert_same(outputs(made, foreign.squares(64)).logits, logits[:, [4, 1, 3]])


def test_xrv_pipeline_from_the_image(tmp_path: Path) -> None:
    """Crop and resizing equal the source's up to the rounding to 8 bits; another filter differs clearly."""
    picture, names = foreign.chest(700, 600), foreign.xrv.datasets.default_pathologies
    made = converted(foreign.save(foreign.xrv_densenet(), tmp_path / "xrv.pt"), "xrv")
    x = xrv_pipeline(picture)
    square = to_square(picture, made.space)
    assert np.abs((x[0, 0].numpy() / 1024 + 1) * 127.5 - square).max() <= 0.501
    with torch.no_grad():
        theirs = torch.sigmoid(by_name(names, foreign.xrv_densenet()(x), made)).numpy()

    def error(fitted: NDArray[np.uint8]) -> float:
        return float(np.abs(1 / (1 + np.exp(-outputs(made, fitted[None]).logits)) - theirs).max())

    assert error(square) <= 1e-2
    assert error(square) <= error(to_square(picture, replace(made.space, resize="area"))) / 2


def test_chexnet_pipeline_from_the_image(tmp_path: Path) -> None:
    picture = foreign.chest(600, 600)
    made = converted(foreign.save(foreign.chexnet(), tmp_path / "module.pt"), "chexnet")
    steps = transforms.Compose([transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor()])
    grey = steps(Image.fromarray(picture).convert("RGB"))
    with torch.no_grad():
        theirs = foreign.chexnet()(((grey - foreign.MEAN) / foreign.STD)[None])
    ours = outputs(made, to_square(picture, made.space)[None])
    assert np.abs(1 / (1 + np.exp(-ours.logits)) - theirs.numpy()).max() <= TOLERANCE


def xrv_pipeline(picture: NDArray[np.uint8]) -> Tensor:
    crop, resize = foreign.xrv.datasets.XRayCenterCrop(), foreign.xrv.datasets.XRayResizer(224)
    return torch.from_numpy(resize(crop(foreign.xrv.datasets.normalize(picture, 255)[None])))[None]


def test_an_artifact_is_served_by_onnx_runtime(tmp_path: Path) -> None:
    network, pictures = tiny(), foreign.squares(64)
    path = foreign.save(network.state_dict(), tmp_path / "tiny.pt")
    folder = tmp_path / "artifact"
    folder.mkdir()
    more = {**TINY, "mean": (0.5,), "std": (1 / 2048,), "size": 64, "fit": "square", "resize": "gaussian"}
    options = Options("state-dict", "tiny", **more, source="a test", licence="CC0", phantoms=3)
    imported = import_file(path, options, folder)
    assert imported.dropped == tuple(f"{name}: no finding of ChestX-ray14" for name in ("No Finding", "Lung Lesion"))
    artifact = load_artifact(folder)
    assert artifact.manifest.labels == ("Cardiomegaly", "Effusion", "Edema")
    assert (artifact.feature_check, artifact.manifest.metrics) == (None, {})
    for text in ("Not calibrated here", "CC0", "Not trained, so never reported: Atelectasis", "Lung Lesion"):
        assert text in artifact.manifest.card
    predictor = load_predictor(folder, "cpu", tmp_path / "cache")
    prediction = predictor.predict(pictures)
    with torch.no_grad():
        logits = network(foreign.xrv_input(pictures))[:, [4, 1, 3]]
    assert_same(prediction.logits, logits)
    assert identity_error(prediction.logits, prediction.cams, artifact.bias) <= 1e-3
    assert np.abs(predictor.probabilities(prediction) - torch.sigmoid(logits).numpy()).max() <= TOLERANCE
    assert artifact.manifest.thresholds == dict.fromkeys(artifact.manifest.labels)
    assert all(result.accepted for result in predictor.check_features(prediction))


def test_an_xrv_artifact_keeps_the_values_of_its_source(tmp_path: Path) -> None:
    path = foreign.save(
        foreign.xrv_densenet(), tmp_path / "chex-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
    )
    folder = tmp_path / "artifact"
    folder.mkdir()
    imported = import_file(path, Options("xrv", "xrv-chex", phantoms=2), folder)
    manifest, release = imported.manifest, foreign.xrv.models.model_urls["chex"]
    stated = dict(zip(release["labels"], release["op_threshs"], strict=True))
    assert manifest.labels == tuple(label for label in LABELS if label in stated)
    assert set(manifest.thresholds) == set(manifest.labels)
    for label, point in manifest.thresholds.items():
        assert point is not None
        assert (point.value, point.strategy, point.positives) == (stated[label], "imported", None)
    assert manifest.input_space == InputSpace(224, "square", "gaussian", mean=(0.5,) * 3, std=(1 / 2048,) * 3)
    assert manifest.grid == (7, 7)
    assert load_artifact(folder).sha256 == manifest.sha256
    assert all(scale.s > 0 for scale in manifest.cam_scale.values())
    assert "Not trained, so never reported: Infiltration, Mass" in manifest.card
    assert any("Lung Opacity" in line for line in imported.dropped)
