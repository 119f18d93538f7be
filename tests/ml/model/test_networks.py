from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from ml.labels import LABELS
from ml.model.feature_weights import WeightsInvalid
from ml.model.networks import build
from tests.ml import tiny

SMALL = ("densenet121", "resnet50", "vgg16", "efficientnet_b0", tiny.ARCHITECTURE)


@pytest.mark.parametrize("architecture", [*SMALL, "densenet169", "tf_efficientnet_lite2"])
def test_maps_average_to_the_logits(architecture: str) -> None:
    torch.manual_seed(0)
    network = build(architecture, len(LABELS)).eval()
    with torch.inference_mode():
        maps = network.features(torch.rand(2, 3, 96, 96))
        logits, cams, pooled = network.head(maps)
    assert logits.shape == (2, 14)
    assert cams.shape == (2, 14, *maps.shape[2:])
    assert pooled.shape == (2, network.classifier.in_features)
    rebuilt = cams.mean(dim=(2, 3)) + network.classifier.bias
    assert (rebuilt - logits).abs().max() <= 1e-4
    assert torch.allclose(pooled, maps.mean(dim=(2, 3)))


def test_maps_of_several_stages_average_to_the_logits() -> None:
    torch.manual_seed(0)
    network = build(tiny.ARCHITECTURE, len(LABELS), stages=("blocks.3", "blocks.4")).eval()
    with torch.inference_mode():
        fine, coarse = network.features(torch.rand(2, 3, 96, 96))
        logits, cams, pooled = network.head([fine, coarse])
    assert (fine.shape[2:], coarse.shape[2:]) == ((6, 6), (3, 3))
    assert cams.shape == (2, 14, 6, 6)
    assert pooled.shape == (2, fine.shape[1] + coarse.shape[1])
    rebuilt = cams.mean(dim=(2, 3)) + network.classifier.bias
    assert (rebuilt - logits).abs().max() <= 1e-4


def test_grids_that_do_not_divide_each_other_are_joined_by_area() -> None:
    torch.manual_seed(0)
    network = build(tiny.ARCHITECTURE, len(LABELS), stages=("blocks.3", "blocks.4")).eval()
    with torch.inference_mode():
        fine, coarse = network.features(torch.rand(1, 3, 80, 80))
        logits, cams, _ = network.head([fine, coarse])
    assert (fine.shape[2:], coarse.shape[2:], cams.shape[2:]) == ((5, 5), (3, 3), (5, 5))
    assert (cams.mean(dim=(2, 3)) + network.classifier.bias - logits).abs().max() <= 1e-4


def test_stages_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has no stages blocks\.3, blocks\.9"):
        build(tiny.ARCHITECTURE, 14, stages=("blocks.3", "blocks.9"))


def test_densenet_features_are_after_the_last_activation() -> None:
    with torch.inference_mode():
        maps = build("densenet121", 14).eval().features(torch.rand(1, 3, 64, 64))
    assert maps.min() == 0


def test_cam_is_grad_cam() -> None:
    network = tiny.network()
    maps = network.features(torch.rand(1, 3, 96, 96)).detach().requires_grad_()
    logits, cams, _ = network.head(maps)
    cells = maps.shape[2] * maps.shape[3]
    for label in (0, 5, 13):
        (gradient,) = torch.autograd.grad(logits[0, label], maps, retain_graph=True)
        grad_cam = functional.relu((gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1))
        expected = functional.relu(cams[:, label]) / cells
        assert torch.allclose(grad_cam, expected, rtol=1e-4, atol=1e-6)


def test_feature_weights_load_from_either_format_and_wrapping(tmp_path: Path) -> None:
    source = tiny.network(1)
    plain = {k.removeprefix("body."): v for k, v in source.features.state_dict().items()}
    save_file(plain, tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.model.{k}": v for k, v in plain.items()}}, tmp_path / "b.pth")
    for name in ("a.safetensors", "b.pth"):
        loaded = build(tiny.ARCHITECTURE, 14, tmp_path / name)
        for key, value in source.features.state_dict().items():
            assert torch.equal(loaded.features.state_dict()[key], value), key


def test_old_densenet_names_are_understood(tmp_path: Path) -> None:
    source = build("densenet121", 14)
    old = {}
    for key, value in source.features.state_dict().items():
        for part in ("norm", "conv"):
            for number in "12":
                if "denselayer" in key:
                    key = key.replace(f"{part}{number}.", f"{part}.{number}.")
        old[f"module.densenet121.features.{key}"] = value
    assert any("norm.1." in key for key in old)
    torch.save(old, tmp_path / "old.pth")
    loaded = build("densenet121", 14, tmp_path / "old.pth")
    assert torch.equal(
        loaded.features.denseblock4.denselayer16.conv2.weight, source.features.denseblock4.denselayer16.conv2.weight
    )


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = {k.removeprefix("body."): v for k, v in tiny.network().features.state_dict().items()}
    missing = dict(list(state.items())[5:])
    save_file(missing, tmp_path / "missing.safetensors")
    with pytest.raises(WeightsInvalid, match=r"5 of .* are missing"):
        build(tiny.ARCHITECTURE, 14, tmp_path / "missing.safetensors")
    first = next(iter(state))
    save_file({**state, first: torch.full_like(state[first], torch.nan)}, tmp_path / "nan.safetensors")
    with pytest.raises(WeightsInvalid, match="non-finite"):
        build(tiny.ARCHITECTURE, 14, tmp_path / "nan.safetensors")
    torch.save(tiny.network(), tmp_path / "module.pth")
    with pytest.raises(WeightsInvalid, match="refused"):
        build(tiny.ARCHITECTURE, 14, tmp_path / "module.pth")
    with pytest.raises(WeightsInvalid, match="No weights file"):
        build(tiny.ARCHITECTURE, 14, tmp_path / "absent.pth")


def test_unknown_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="Unknown architecture"):
        build("chexnet", 14)
