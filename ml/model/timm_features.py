"""Feature maps of timm's networks: convolutions, window attention, and transformers whose patch tokens form a grid.

The mean of the patch tokens, followed by one linear layer, has an exact class activation map on the grid of patches,
as the mean of a convolution's cells has. A class token gathers from all patches, so it has none.
"""

import contextlib
import io
import sys
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

Layout = Literal["channels first", "channels last", "tokens", "pooled"]

# The networks of EVA-X (github.com/hustvl/EVA-X, MIT), which timm has as a class but not by name.
_EVA_X: dict[str, dict[str, Any]] = {
    "eva_x_tiny_patch16": {"embed_dim": 192, "num_heads": 3},
    "eva_x_small_patch16": {"embed_dim": 384, "num_heads": 6},
    "eva_x_base_patch16": {"embed_dim": 768, "num_heads": 12, "qkv_fused": False, "scale_mlp": True},
}
_EVA_X_ALL: dict[str, Any] = {
    "patch_size": 16,
    "depth": 12,
    "mlp_ratio": 4 * 2 / 3,
    "swiglu_mlp": True,
    "use_rot_pos_emb": True,
    "ref_feat_shape": (14, 14),
}
# The last normalisation may stand before the pooling or after it, under another name.
_SAME_NORM = {"norm.": "fc_norm.", "fc_norm.": "norm.", "norm_pre.": "head.norm."}


class TimmFeatures(nn.Module):
    """float (N, 3, S, S) -> maps (N, C, h, w); (N, C, 1, 1) where the network's own pooling leaves no map."""

    def __init__(self, body: Any, layout: Layout) -> None:
        super().__init__()
        self.body: Any = body
        self.layout = layout

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.body.forward_features(images)
        if self.layout == "channels last":
            return outputs.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            tokens = outputs[:, self.body.num_prefix_tokens :].transpose(1, 2)
            rows, columns = self.body.patch_embed.grid_size
            return tokens.reshape(-1, tokens.shape[1], rows, columns)
        if self.layout == "pooled":
            pooled: Tensor = self.body.forward_head(outputs, pre_logits=True)
            return pooled[:, :, None, None]
        return outputs

    def converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename and resample tensors of a published file by timm's rules for this family of networks.

        DINOv2, DINOv3, MAE, EVA, ConvNeXt and Swin publish other names than timm's; position embeddings and patch
        embeddings of another size are interpolated.

        Args:
            state: the file's tensors, without the prefix of a wrapping module.

        Returns:
            Tensors under the names of this module. Where timm's rules fail, the file's names: the caller names those
            that do not fit.
        """
        convert: Any = getattr(sys.modules[type(self.body).__module__], "checkpoint_filter_fn", None)
        found = dict(state)
        if convert is not None:
            # Some of these functions print, or raise KeyError for a file of another family.
            with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(LookupError, RuntimeError):
                found = dict(convert(dict(state), self.body))
        for wanted, other in _SAME_NORM.items():
            for name in ("weight", "bias"):
                if wanted + name not in found and other + name in found:
                    found[wanted + name] = found[other + name]
        return {f"body.{name}": value for name, value in found.items()}


def timm_features(name: str, size: int, drop_path: float = 0.0, own_pooling: bool = False) -> tuple[TimmFeatures, int]:
    """Build the features of a timm network for images of `size` pixels, and say how many channels they have.

    Args:
        name: a timm name, or eva_x_tiny_patch16, eva_x_small_patch16, eva_x_base_patch16.
        size: side of the input.
        drop_path: share of residual branches that are left out in training (stochastic depth).
        own_pooling: keep the network's own pooling (a class token, attention): there is no exact map then. It is kept
            also where the features form no grid.

    Raises:
        ValueError: timm is missing, or the name, the size or `drop_path` does not fit.
    """
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"Architecture {name!r} needs the timm package: pip install timm.") from error
    if name not in _EVA_X and not timm.is_model(name):
        raise ValueError(f"Unknown architecture {name!r}: it is no name of torchvision that is supported, nor of timm.")
    if not own_pooling:
        body = _body(name, size, drop_path, {"global_pool": ""})
        shape = _shape(body, size)
        layout = _layout(body, shape)
        if layout:
            if layout == "tokens" and size % body.patch_embed.patch_size[0]:
                raise ValueError(
                    f"{name} reads patches of {body.patch_embed.patch_size[0]} pixels, so its input size must be a "
                    f"multiple of that, not {size}: give --input-size."
                )
            return TimmFeatures(body, layout).train(), int(body.num_features)
    body = _body(name, size, drop_path, {})
    features = TimmFeatures(body, "pooled").eval()
    with torch.no_grad():
        pooled = features(torch.zeros(1, 3, size, size))
    if pooled.ndim != 4:
        raise ValueError(f"{name!r} gives features of shape {tuple(pooled.shape)}, which no linear layer can take.")
    return features.train(), int(pooled.shape[1])


def _body(name: str, size: int, drop_path: float, options: dict[str, Any]) -> Any:
    import timm
    from timm.models import is_model_in_modules
    from timm.models.eva import Eva

    if drop_path:
        options = {**options, "drop_path_rate": drop_path}
    if name in _EVA_X:
        return Eva(img_size=size, num_classes=0, **_EVA_X_ALL, **_EVA_X[name], **options)
    if options.get("global_pool") == "" and is_model_in_modules(name, ["convnext"]):
        # The normalisation after the pooling would leave no exact map; before it, it does.
        options = {**options, "head_norm_first": True}
    try:
        published = timm.get_pretrained_cfg(name)
        if published is not None and published.fixed_input_size:
            options = {**options, "img_size": size}
        return timm.create_model(name, pretrained=False, num_classes=0, **options)
    except (TypeError, AssertionError, RuntimeError) as error:
        raise ValueError(
            f"timm's {name} can't be built for {size} pixels with drop-path {drop_path:g}: {error}. Give another "
            "--input-size, --drop-path 0, or another --arch."
        ) from error


def _shape(body: Any, size: int) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(body.eval().forward_features(torch.zeros(1, 3, size, size)).shape)


def _layout(body: Any, shape: tuple[int, ...]) -> Layout | None:
    channels = body.num_features
    if len(shape) == 4 and getattr(body, "output_fmt", "NCHW") == "NHWC":
        return "channels last" if shape[3] == channels else None
    if len(shape) == 4:
        return "channels first" if shape[1] == channels else None
    grid = getattr(getattr(body, "patch_embed", None), "grid_size", None)
    if len(shape) == 3 and shape[2] == channels and grid is not None:
        patches = shape[1] - getattr(body, "num_prefix_tokens", 0)
        return "tokens" if patches == grid[0] * grid[1] else None
    return None


def without_absent_norm(features: nn.Module, names: Mapping[str, Any]) -> None:
    """Take the last normalisation out of a ConvNeXt whose tensors `names` (as in a manifest) have none.

    Versions were trained without it before it stood before the pooling.
    """
    body = getattr(features, "body", None)
    if hasattr(body, "norm_pre") and not any(name.startswith("features.body.norm_pre.") for name in names):
        body.norm_pre = nn.Identity()  # type: ignore[union-attr]
