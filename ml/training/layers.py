"""The layers of a network, for learning rates that fall from the head towards the image."""

from torch import nn


def layer_depths(network: nn.Module) -> dict[str, int]:
    """How far each parameter lies from the image: the stem 0, the head the most.

    timm groups the parameters of its networks by blocks. Of other networks, the modules of `features` are the layers.
    """
    depths: dict[str, int] = {}
    for path, module in network.named_modules():
        if hasattr(module, "group_matcher"):
            from timm.models import group_parameters

            groups = group_parameters(module, module.group_matcher(coarse=False), reverse=True)
            depths = {f"{path}.{name}": int(depth) for name, depth in groups.items()}
            break
    else:
        order: dict[str, int] = {}
        for name, _ in network.named_parameters():
            if name.startswith("features."):
                depths[name] = order.setdefault(name.split(".")[1], len(order))
    top = max(depths.values(), default=-1) + 1
    return {name: depths.get(name, top) for name, _ in network.named_parameters()}


def undecayed(network: nn.Module) -> set[str]:
    """Parameters that timm says not to decay: position embeddings, class tokens, tables of relative positions."""
    found: set[str] = set()
    for path, module in network.named_modules():
        if hasattr(module, "no_weight_decay"):
            parts = [f".{each}." for each in module.no_weight_decay()]
            names = [name for name, _ in module.named_parameters() if any(part in f".{name}." for part in parts)]
            found.update(f"{path}.{name}" for name in names)
    return found
