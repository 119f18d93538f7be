"""What recipes may add: rates by layer, losses, mixed and changed images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ml.model.networks import build
from ml.training.augment import DRAWS, augment, mixed
from ml.training.config import Augmentation, Recipe
from ml.training.fitting import asymmetric_loss, masked_bce, optimiser_of
from ml.training.layers import layer_depths
from ml.training.randaugment import OPERATIONS, RAND_DRAWS, randaugment


@pytest.mark.parametrize("architecture", ["test_vit", "densenet121"])
def test_rates_fall_from_the_head_to_the_stem(architecture: str) -> None:
    network = build(architecture, 14, size=64)
    recipe = Recipe(layer_decay=0.5)
    names = {parameter: name for name, parameter in network.named_parameters()}
    scales = {names[p]: group["scale"] for group in optimiser_of(network, recipe).param_groups for p in group["params"]}
    assert scales.keys() == dict(network.named_parameters()).keys()
    depths = layer_depths(network)
    top = max(depths.values())
    assert scales["classifier.weight"] == 1
    assert all(scales[name] == pytest.approx(0.5 ** (top - depth)) for name, depth in depths.items())
    order = (
        ["patch_embed.proj", "blocks.0.attn.proj", "blocks.5.attn.proj"]
        if architecture == "test_vit"
        else ["conv0", "denseblock1.denselayer1.conv1", "denseblock4.denselayer16.conv1"]
    )
    prefix = "features.body." if architecture == "test_vit" else "features."
    found = [scales[f"{prefix}{name}.weight"] for name in order]
    assert found == sorted(found)
    assert len(set(found)) == 3


def test_vectors_and_positions_are_not_decayed() -> None:
    network = build("test_vit", 14, size=64)
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = optimiser_of(network, Recipe()).param_groups
    assert [(group["weight_decay"], group["scale"]) for group in groups] == [(0.05, 1.0), (0.0, 1.0)]
    plain = {names[parameter] for parameter in groups[1]["params"]}
    assert {"features.body.pos_embed", "features.body.cls_token", "classifier.bias"} <= plain
    assert "classifier.weight" not in plain


def test_the_asymmetric_loss_forgets_easy_negatives() -> None:
    logits = torch.tensor([[-4.0, 2.0, 2.0, 0.0]], requires_grad=True)
    truth = torch.tensor([[0.0, 0.0, 1.0, float("nan")]])
    loss = asymmetric_loss(logits, truth)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] == 0
    assert logits.grad[0, 3] == 0
    p = torch.sigmoid(torch.tensor(2.0))
    expected = -((p - 0.05) ** 4) * torch.log(1 - (p - 0.05)) - torch.log(p)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    positives = torch.ones(1, 4)
    assert asymmetric_loss(logits, positives).item() == pytest.approx(masked_bce(logits, positives).item(), rel=1e-5)


def test_mixed_images_keep_what_is_known() -> None:
    grey, truth = torch.rand(5, 1, 8, 8), (torch.rand(5, 3) < 0.5).float()
    truth[0, 0], truth[4, 1] = torch.nan, torch.nan
    images, targets = mixed(grey, truth, 0.4, np.random.default_rng(1))
    assert torch.equal(torch.isfinite(targets), torch.isfinite(truth))
    assert targets[0, 1] == truth[0, 1]
    assert torch.allclose(images[2], grey[2])
    share = (images[1] - grey[3]) / (grey[1] - grey[3])
    assert torch.allclose(share, share.flatten()[0], atol=1e-3)
    assert 0.5 <= share.mean() <= 1
    assert torch.allclose(targets[1], share.mean() * truth[1] + (1 - share.mean()) * truth[3], atol=1e-3)


def test_randaugment_changes_every_image_in_its_own_way() -> None:
    grey = torch.rand(1, 1, 32, 32).repeat(len(OPERATIONS), 1, 1, 1) * 0.8 + 0.1
    draws = torch.full((len(OPERATIONS), RAND_DRAWS), 0.3)
    draws[:, 0] = (torch.arange(len(OPERATIONS)) + 0.5) / (2 * len(OPERATIONS))
    draws[:, 3] = 0.99
    changed = randaugment(grey, 2, 6, draws)
    assert ((changed - grey).abs().amax(dim=(1, 2, 3)) > 0.01).all()
    assert 0 <= changed.min() < changed.max() <= 1
    assert len({each.numpy().tobytes() for each in changed}) == len(OPERATIONS)
    assert torch.equal(changed[3:6], randaugment(grey[3:6], 2, 6, draws[3:6]))
    assert torch.equal(randaugment(grey, 2, 6, torch.full((len(OPERATIONS), RAND_DRAWS), 0.7)), grey)
    ranges = replace(Augmentation(), operations=2)
    several = torch.rand(6, DRAWS)
    whole = augment(grey[:6], 24, ranges, several)
    assert torch.equal(whole[2:4], augment(grey[2:4], 24, ranges, several[2:4]))
