"""Several networks as one."""

import torch

from ml.model.ensemble import ensemble_name, members_of
from ml.model.grids import overlap
from ml.model.networks import build


def test_names_of_ensembles() -> None:
    members = (("test_vit+flip", 96), ("densenet121", 224))
    assert members_of(ensemble_name(members)) == members
    assert members_of("densenet121") == ()


def test_maps_keep_their_mean_on_another_grid() -> None:
    for cells, targets in ((3, 7), (7, 16), (5, 5), (512, 224), (8, 4)):
        weights = overlap(cells, targets, torch.zeros(1))
        assert torch.allclose(weights.sum(1), torch.ones(targets), atol=1e-5)
        assert torch.allclose(weights.sum(0), torch.full((cells,), targets / cells), atol=1e-4)
    assert torch.equal(overlap(2, 4, torch.zeros(1)), torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]))
    assert torch.equal(overlap(4, 2, torch.zeros(1)), torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]))


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    torch.manual_seed(0)
    parts = [("test_convnext", 64), ("test_vit+attention", 96)]
    members = [build(name, 14, size=size).eval() for name, size in parts]
    network = build(ensemble_name(parts), 14).eval()
    with torch.inference_mode():
        for number, member in enumerate(members):
            network.features[number].features.load_state_dict(member.features.state_dict())
        network.classifier.weight.copy_(torch.cat([each.classifier.weight for each in members], dim=1) / 2)
        network.classifier.bias.copy_(sum(each.classifier.bias for each in members) / 2)
        images = torch.rand(2, 3, 96, 96)
        logits, cams, pooled = network(images)
        small = overlap(96, 64, images) @ images @ overlap(96, 64, images).T
        wanted = [member(given) for member, given in zip(members, (small, images), strict=True)]
    assert torch.allclose(logits, (wanted[0][0] + wanted[1][0]) / 2, atol=1e-5)
    assert cams.shape == (2, 14, 6, 6)
    assert torch.allclose(
        cams, (wanted[0][1].repeat_interleave(3, 2).repeat_interleave(3, 3) + wanted[1][1]) / 2, atol=1e-5
    )
    assert torch.allclose(cams.mean(dim=(2, 3)) + network.classifier.bias, logits, atol=1e-4)
    assert torch.equal(pooled, torch.cat([wanted[0][2], wanted[1][2]], dim=1))


def test_a_mirrored_network_sees_an_image_and_its_mirror_image_alike() -> None:
    torch.manual_seed(0)
    network = build("test_vit+flip", 14, size=64).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        logits, cams, _ = network(images)
        mirrored, their_cams, _ = network(images.flip(3))
    assert torch.allclose(logits, mirrored, atol=1e-5)
    assert torch.allclose(cams, their_cams.flip(3), atol=1e-5)
