"""Several networks as one: the mean of their logits, with the mean of their class activation maps on one grid.

The head is one linear layer on the pooled features of all members, side by side: their weights divided by the number of
members, and the mean of their biases. So the mean of the map and the bias are exactly the logit, as of one network.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ml.model.grids import overlap

BuildFeatures = Callable[[str, int], tuple[nn.Module, int]]


def members_of(architecture: str) -> tuple[tuple[str, int], ...]:
    """Architecture and input size of each member of "densenet121@224,convnext_tiny@512"; () for a single network.

    Raises:
        ValueError: a member has no size.
    """
    if "@" not in architecture:
        return ()
    members = []
    for member in architecture.split(","):
        name, _, size = member.partition("@")
        if not name or not size.isdigit():
            raise ValueError(f"{architecture!r}: a member of an ensemble is ARCHITECTURE@INPUT_SIZE, not {member!r}.")
        members.append((name, int(size)))
    return tuple(members)


def ensemble_name(members: Sequence[tuple[str, int]]) -> str:
    """The inverse of `members_of`."""
    return ",".join(f"{name}@{size}" for name, size in members)


class _Member(nn.Module):
    """One network's features, from the ensemble's images, which it averages to its own size."""

    def __init__(self, features: nn.Module, size: int) -> None:
        super().__init__()
        self.features = features
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2] != self.size:
            shrink = overlap(images.shape[2], self.size, images)
            images = shrink @ images @ shrink.T
        maps: Tensor = self.features(images)
        return maps


class EnsembleFeatures(nn.ModuleList):
    """float (N, 3, S, S) -> the feature maps of each member."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [member(images) for member in self]


def ensemble_features(architecture: str, build_features: BuildFeatures) -> tuple[EnsembleFeatures, list[int]]:
    """Build the members of an ensemble with random weights, and say how many channels each has.

    Raises:
        ValueError: a member is unknown.
    """
    members = [(*build_features(name, size), size) for name, size in members_of(architecture)]
    return EnsembleFeatures(_Member(features, size) for features, _, size in members), [each for _, each, _ in members]
