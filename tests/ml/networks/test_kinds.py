"""One network of each kind on synthetic images: it learns, resumes exactly, and is served as it was trained."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ml.model.networks import build
from ml.training.config import RECIPES
from tests.ml.networks.phantoms import RECIPE, is_served_as_trained, learns_and_resumes

STRONG = replace(
    RECIPE,
    layer_decay=0.8,
    drop_path=0.2,
    mixup=0.2,
    ema_films=0,
    ema_share=0.1,
    augmentation=RECIPES["vit"].recipe.augmentation,
)
KINDS = {
    "convnextv2_atto": 64,
    "swin_tiny_patch4_window7_224": 64,
    "vit_tiny_patch16_224": 64,
    "vit_tiny_patch16_224+attention": 64,
    "vit_tiny_patch16_224+own": 64,
    "vit_small_patch14_dinov2": 56,
    "vit_small_patch16_dinov3": 64,
    "eva02_tiny_patch14_224": 56,
    "eva_x_tiny_patch16": 64,
    "densenet121+attention": 64,
    "gmlp_ti16_224": 96,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads of a tiny network wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("architecture", ["test_convnext", "test_vit+attention"])
def test_a_small_convolution_and_a_transformer_learn_and_resume(architecture: str, tmp_path: Path) -> None:
    learns_and_resumes(architecture, 64, STRONG, tmp_path)


@pytest.mark.networks
def test_an_ensemble_of_a_convolution_and_a_transformer_is_served_as_it_is(tmp_path: Path) -> None:
    """Of two sizes and two grids, one of them with attention, one averaged over the mirror image."""
    architecture = "test_convnext+flip@64,test_vit+attention@96"
    torch.manual_seed(0)
    network = build(architecture, 14).eval()
    is_served_as_trained(network, architecture, 96, tmp_path)


@pytest.mark.networks
@pytest.mark.parametrize("architecture", KINDS)
def test_every_kind_learns_resumes_and_is_served_as_trained(architecture: str, tmp_path: Path) -> None:
    plain = architecture.startswith("densenet")
    recipe = replace(STRONG, drop_path=0.0) if plain else STRONG
    network = learns_and_resumes(architecture, KINDS[architecture], recipe, tmp_path / "checkpoints")
    is_served_as_trained(network, architecture, KINDS[architecture], tmp_path)
