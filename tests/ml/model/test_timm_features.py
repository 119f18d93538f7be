"""Networks of timm: their maps, and weights as their authors publish them."""

import argparse
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ml.labels import LABELS
from ml.model.artifact import load_artifact, save_artifact
from ml.model.feature_weights import WeightsInvalid
from ml.model.networks import build
from ml.model.onnx_export import serving_graph
from ml.model.saliency import fit_cam_scale, relative_contribution
from ml.model.transforms import InputSpace
from ml.training.package import rounded_tensors
from ml.training.weights import initial_network
from tests.ml import tiny


def body_of(architecture: str, size: int = 64, seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build(architecture, 14, size=size).features.body


@pytest.mark.parametrize(
    ("architecture", "grid"),
    [
        ("test_convnext", (3, 3)),
        ("test_vit", (6, 6)),
        ("test_vit2", (6, 6)),
        ("test_vit+attention", (6, 6)),
        ("test_resnet+attention+flip", (3, 3)),
        ("eva_x_tiny_patch16", (6, 6)),
        ("vit_tiny_patch16_dinov3_qkvb", (6, 6)),
        ("test_vit+own", (1, 1)),
    ],
)
def test_maps_average_to_the_logits(architecture: str, grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = build(architecture, len(LABELS), size=96).eval()
    with torch.inference_mode():
        logits, cams, pooled = network(torch.rand(2, 3, 96, 96))
    assert cams.shape == (2, 14, *grid)
    assert pooled.shape == (2, network.classifier.in_features)
    assert (cams.mean(dim=(2, 3)) + network.classifier.bias - logits).abs().max() <= 1e-4


def test_attention_weighs_the_cells() -> None:
    torch.manual_seed(0)
    plain, weighed = build("test_vit", 14, size=64).eval(), build("test_vit+attention", 14, size=64).eval()
    weighed.features.maps.load_state_dict(plain.features.state_dict())
    weighed.classifier.load_state_dict(plain.classifier.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(plain(images)[0], weighed(images)[0], atol=1e-6)
        weighed.features.score.weight.normal_()
        maps = plain.features(images)
        shares = weighed.features.score(maps).flatten(2).softmax(2)
        assert torch.allclose(weighed(images)[2], (maps.flatten(2) * shares).sum(2), atol=1e-5)


def test_the_map_of_one_cell_shows_no_place() -> None:
    cams = np.random.default_rng(0).normal(size=(50, 1, 1))
    assert not relative_contribution(cams[0], fit_cam_scale(cams)).any()


def test_names_and_sizes_that_do_not_fit_are_refused() -> None:
    for architecture, size, why in (
        ("vit_small_patch14_dinov2", 64, "multiple of that, not 64"),
        ("test_vit+mean", 64, "attention, own, flip, not mean"),
        ("densenet121+own", 64, "no option for its own pooling"),
        ("test_vit@64,test_vit@", 64, "ARCHITECTURE@INPUT_SIZE"),
        ("test_vi", 64, "Unknown architecture"),
    ):
        with pytest.raises(ValueError, match=re.escape(why)):
            build(architecture, 14, size=size)
    with pytest.raises(ValueError, match="no option for drop-path"):
        build("densenet121", 14, drop_path=0.1)
    with pytest.raises(ValueError, match="made of trained artifacts"):
        initial_network("test_vit@64,test_vit@96", None, 0)


def assert_equal(found: torch.nn.Module, wanted: dict[str, torch.Tensor]) -> None:
    for name, value in found.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_weights_of_mae_are_read_beside_their_decoder_and_options(tmp_path: Path) -> None:
    source = body_of("test_vit").state_dict()
    more = {"mask_token": torch.zeros(1, 1, 64), "decoder_embed.weight": torch.zeros(3, 3)}
    torch.save({"model": source | more, "args": argparse.Namespace(lr=1.0), "epoch": 3}, tmp_path / "mae.pth")
    assert_equal(build("test_vit", 14, tmp_path / "mae.pth", size=64).features.body, source)


def test_weights_of_another_image_size_are_interpolated(tmp_path: Path) -> None:
    source = body_of("test_vit", 96).state_dict()
    save_file({f"backbone.{name}": value for name, value in source.items()}, tmp_path / "a.safetensors")
    found = build("test_vit", 14, tmp_path / "a.safetensors", size=64).features.body
    assert found.pos_embed.shape == (1, 17, 64)
    assert_equal(found.blocks, {k.removeprefix("blocks."): v for k, v in source.items() if k.startswith("blocks.")})


def test_weights_of_eva_x_are_renamed(tmp_path: Path) -> None:
    source = body_of("eva_x_tiny_patch16").state_dict()
    published = {}
    for name, value in source.items():
        published[name.replace("mlp.fc1.", "mlp.w12.").replace("mlp.fc2.", "mlp.w3.")] = value
    torch.save({"module": {**published, "mask_token": torch.zeros(1)}}, tmp_path / "eva.pt")
    assert_equal(build("eva_x_tiny_patch16", 14, tmp_path / "eva.pt", size=64).features.body, source)


def test_weights_of_convnext_keep_their_last_norm(tmp_path: Path) -> None:
    source = body_of("test_convnext").state_dict()
    renamed = {name.replace("norm_pre.", "head.norm."): value for name, value in source.items()}
    save_file({**renamed, "head.fc.weight": torch.zeros(5, 64)}, tmp_path / "a.safetensors")
    assert_equal(build("test_convnext", 14, tmp_path / "a.safetensors").features.body, source)


def test_weights_of_another_family_are_refused_by_name(tmp_path: Path) -> None:
    save_file({"layers.0.weight": torch.zeros(3)}, tmp_path / "a.safetensors")
    for architecture in ("test_vit", "test_convnext"):
        with pytest.raises(WeightsInvalid, match="does not fit this architecture"):
            build(architecture, 14, tmp_path / "a.safetensors", size=64)


def test_published_weights_say_where_to_fetch_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsInvalid, match=re.escape("huggingface.co/timm/vit_base_patch16_224.mae")):
        initial_network("vit_base_patch16_224.mae", "imagenet", 0)
    with pytest.raises(WeightsInvalid, match="no published weights for eva_x_tiny_patch16"):
        initial_network("eva_x_tiny_patch16", "imagenet", 0)


def artifact(folder: Path, network: torch.nn.Module, architecture: str, size: int) -> Path:
    manifest = replace(tiny.manifest(), architecture=architecture, input_space=InputSpace(size))
    save_artifact(folder, manifest, rounded_tensors(network))
    return folder


def test_a_run_at_a_higher_resolution_goes_on_from_an_artifact(tmp_path: Path) -> None:
    torch.manual_seed(3)
    source = build("test_vit+attention", 14, size=64)
    folder = artifact(tmp_path / "a", source, "test_vit+attention", 64)
    found = initial_network("test_vit+attention", str(folder), 0, 96)
    assert found.features.maps.body.pos_embed.shape == (1, 37, 64)
    assert torch.allclose(found.classifier.weight, source.classifier.weight, atol=1e-3)


def test_versions_from_before_the_norm_of_convnext_are_served(tmp_path: Path) -> None:
    network = build("test_convnext", 14, size=64)
    network.features.body.norm_pre = torch.nn.Identity()
    folder = artifact(tmp_path / "a", network, "test_convnext", 64)
    squares = torch.randint(0, 256, (1, 64, 64), dtype=torch.uint8)
    assert torch.isfinite(serving_graph(load_artifact(folder))(squares)[0]).all()
