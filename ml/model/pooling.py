"""What may stand between the feature maps and the mean of their cells, and leaves the class activation map exact."""

from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """Weighs the cells of feature maps (N, C, h, w) by attention.

    The mean of the weighed maps is the attention-weighted mean of the maps (Ilse et al. 2018), so one linear layer on
    it has an exact class activation map. It starts as the plain mean.
    """

    def __init__(self, maps: nn.Module, channels: int) -> None:
        super().__init__()
        self.maps = maps
        self.score = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.maps(images)
        height, width = maps.shape[2:]
        shares = self.score(maps).float().flatten(2).softmax(dim=2).unflatten(2, (height, width))
        return maps * (shares * (height * width))


class Mirrored(nn.Module):
    """The mean of the feature maps of an image and of its mirror image, the latter mirrored back."""

    def __init__(self, maps: nn.Module) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> Tensor:
        plain: Tensor = self.maps(images)
        mirrored: Tensor = self.maps(images.flip(3))
        return (plain + mirrored.flip(3)) / 2
