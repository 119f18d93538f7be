"""Synthetic chest images for tests, each generated once per test process: one takes a third of a second."""

import functools

from ml.phantom import SyntheticImage, generate


@functools.cache
def synthetic_image(seed: int, size: int = 512, findings: tuple[str, ...] = ()) -> SyntheticImage:
    """As `ml.phantom.generate`. The pixels are shared, so they are read-only."""
    image = generate(seed, size, findings)
    image.pixels.setflags(write=False)
    return image
