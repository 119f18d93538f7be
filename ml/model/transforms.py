"""Transform a decoded image to the network's input, and a map of the network back to image coordinates.

The description of the transform (`InputSpace`) is stored with the model, so training, serving and heatmaps use the
same geometry.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml.model.resample import gaussian_resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


Fit = Literal["stretch", "crop", "square"]
Resize = Literal["area", "bilinear", "gaussian"]
FITS: tuple[str, ...] = get_args(Fit)
RESIZES: tuple[str, ...] = get_args(Resize)


@dataclass(frozen=True)
class InputSpace:
    """The network's input: side length, how an image is fitted to the square, and the normalisation.

    Attributes:
        size: side in pixels.
        fit: "stretch" resizes both sides to the size. "crop" resizes the short side to it and keeps the middle of the
            long one, as torchvision's Resize and CenterCrop do. "square" cuts the middle square out of the image and
            resizes it, as TorchXRayVision does.
        resize: "area" averages. "bilinear" is Pillow's filter, which widens when it shrinks. "gaussian" is
            scikit-image's (`ml.model.resample`). The last two exist for imported versions.
        channels: always 3; the grey image is repeated.
        mean, std: applied to intensities in [0, 1].

    Raises:
        ValueError: a field has a value that this code does not support.
    """

    size: int
    fit: Fit = "stretch"
    resize: Resize = "area"
    channels: int = 3
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 2048:
            raise ValueError(f"Input size {self.size} is outside 32..2048 pixels.")
        if self.fit not in FITS:
            raise ValueError(f"Unknown fit {self.fit!r}: use one of {', '.join(FITS)}.")
        if self.resize not in RESIZES:
            raise ValueError(f"Unknown resize {self.resize!r}: use one of {', '.join(RESIZES)}.")
        if self.channels != 3 or len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError("The input has three channels; mean and std need three values each.")
        if not all(np.isfinite(self.mean)) or not all(np.isfinite(s) and s > 0 for s in self.std):
            raise ValueError("mean must be finite, std finite and positive.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, as the manifest stores it."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "InputSpace":
        """Inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown or has the wrong type.
        """
        try:
            fields = {**value, "mean": _triple(value["mean"]), "std": _triple(value["std"])}
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"Not an input space: {error}.") from error


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(v) for v in values)
    return first, second, third


@dataclass(frozen=True)
class Geometry:
    """How an image of `rows` x `columns` pixels lies in the network's square input.

    An input coordinate u (pixels, edges at 0 and `size`) is `image coordinate * scale - offset`, per axis.
    """

    rows: int
    columns: int
    size: int
    scale_y: float
    scale_x: float
    offset_y: float
    offset_x: float

    @classmethod
    def of(cls, rows: int, columns: int, space: InputSpace) -> "Geometry":
        """Geometry of one image.

        Raises:
            ValueError: the image is empty.
        """
        if rows < 1 or columns < 1:
            raise ValueError(f"An image needs at least one pixel, not {rows} x {columns}.")
        size = space.size
        if space.fit == "stretch":
            return cls(rows, columns, size, size / rows, size / columns, 0.0, 0.0)
        if space.fit == "square":
            side, top, left = _middle_square(rows, columns)
            scale = size / side
            return cls(rows, columns, size, scale, scale, top * scale, left * scale)
        height, width = _crop_shape(rows, columns, size)
        return cls(
            rows, columns, size, height / rows, width / columns, float((height - size) // 2), float((width - size) // 2)
        )


def _crop_shape(rows: int, columns: int, size: int) -> tuple[int, int]:
    short = min(rows, columns)
    return max(size, round(rows * size / short)), max(size, round(columns * size / short))


def _middle_square(rows: int, columns: int) -> tuple[int, int, int]:
    """Side, first row and first column of the square in the middle of an image."""
    side = min(rows, columns)
    return side, rows // 2 - side // 2, columns // 2 - side // 2


def _resized(image: Image.Image, width: int, height: int, resize: Resize) -> Image.Image:
    if resize == "gaussian":
        return Image.fromarray(gaussian_resize(np.asarray(image), height, width))
    if resize == "bilinear":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    return _area_resize(image, width, height)


def _area_resize(image: Image.Image, width: int, height: int) -> Image.Image:
    # A box filter averages areas exactly when it shrinks; when it enlarges, it would repeat pixels in blocks.
    if image.width != width:
        horizontal = Image.Resampling.BOX if width < image.width else Image.Resampling.BILINEAR
        image = image.resize((width, image.height), horizontal)
    if image.height != height:
        vertical = Image.Resampling.BOX if height < image.height else Image.Resampling.BILINEAR
        image = image.resize((width, height), vertical)
    return image


def to_square(pixels: NDArray[np.uint8], space: InputSpace) -> NDArray[np.uint8]:
    """Fit an image uint8 (rows, columns), 0 = black, to uint8 (size, size) as `space` describes.

    Raises:
        ValueError: the array is empty, or has another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or 0 in pixels.shape:
        raise ValueError(f"Expected a (rows, columns) uint8 image, got {pixels.dtype} {pixels.shape}.")
    rows, columns = pixels.shape
    size = space.size
    if (rows, columns) == (size, size):
        return np.ascontiguousarray(pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if space.fit == "stretch":
        return np.asarray(_resized(image, size, size, space.resize))
    if space.fit == "square":
        side, top, left = _middle_square(rows, columns)
        return np.asarray(_resized(image.crop((left, top, left + side, top + side)), size, size, space.resize))
    height, width = _crop_shape(rows, columns, size)
    image = _resized(image, width, height, space.resize)
    top, left = (height - size) // 2, (width - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def normalise(square: NDArray[np.uint8], space: InputSpace) -> NDArray[np.float32]:
    """(size, size) or (N, size, size) uint8 -> float32 (3, size, size) or (N, 3, size, size), (v/255 - mean) / std."""
    mean = np.asarray(space.mean, dtype=np.float32)[:, None, None]
    std = np.asarray(space.std, dtype=np.float32)[:, None, None]
    grey = square.astype(np.float32)[..., None, :, :] / np.float32(255)
    return np.asarray((grey - mean) / std, dtype=np.float32)


def preprocess(pixels: NDArray[np.uint8], space: InputSpace) -> NDArray[np.float32]:
    """An image uint8 (rows, columns) -> the network's input, float32 (3, size, size)."""
    return normalise(to_square(pixels, space), space)


def _interpolation(target: int, scale: float, offset: float, size: int, cells: int) -> NDArray[np.float32]:
    """Bilinear weights (target, cells) for cell centres at (i + 0.5) * size / cells; zero outside the input."""
    u = (np.arange(target) + 0.5) * scale - offset
    g = np.clip(u * cells / size - 0.5, 0.0, cells - 1.0)
    low = np.minimum(np.floor(g).astype(np.intp), max(cells - 2, 0))
    weights = np.zeros((target, cells), dtype=np.float32)
    rows = np.arange(target)
    weights[rows, low] = 1.0 - (g - low)
    weights[rows, np.minimum(low + 1, cells - 1)] += g - low
    weights[(u < 0) | (u > size)] = 0.0
    return weights


def map_back(
    grid: NDArray[Any], geometry: Geometry, rows: int | None = None, columns: int | None = None
) -> NDArray[np.float32]:
    """Resize a map (h, w) of the network's input to image coordinates.

    Bilinear in input coordinates (align_corners=False), then the inverse of fit and resize.

    Args:
        grid: (h, w).
        geometry: how the image lies in the network's input.
        rows, columns: another size of the same image, for example of a thumbnail.

    Returns:
        float32 (rows, columns); 0 outside a crop, which the network did not see.
    """
    if grid.ndim != 2:
        raise ValueError(f"Expected a (h, w) grid, got shape {grid.shape}.")
    rows = geometry.rows if rows is None else rows
    columns = geometry.columns if columns is None else columns
    down = _interpolation(
        rows, geometry.scale_y * geometry.rows / rows, geometry.offset_y, geometry.size, grid.shape[0]
    )
    across = _interpolation(
        columns, geometry.scale_x * geometry.columns / columns, geometry.offset_x, geometry.size, grid.shape[1]
    )
    return np.asarray(down @ grid.astype(np.float32) @ across.T, dtype=np.float32)
