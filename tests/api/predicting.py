"""Images and arrays for /predict, and a client for it."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from django.test import Client
from PIL import Image

from ml.model.manifest import read_manifest
from ml.phantom import write_dicom
from tests.conftest import STARTER
from tests.synthetic import synthetic_image

PATH = "/api/v1/predict"
SIZE = read_manifest(STARTER).input_space.size
"""The side of the shipped version's input."""


def grey(seed: int, size: int = 512, findings: tuple[str, ...] = ()) -> np.ndarray:
    return (synthetic_image(seed, size, findings).pixels >> 4).astype(np.uint8)


def png(seed: int = 1, size: int = 512) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey(seed, size)).save(out, "PNG")
    return out.getvalue()


def dicom(seed: int = 1, size: int = 512, **attributes: Any) -> bytes:
    out = io.BytesIO()
    write_dicom(synthetic_image(seed, size), out, **attributes)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def tensor(seeds: Sequence[int], space: Any, size: int = 512) -> np.ndarray:
    """The pictures of `png`, preprocessed as a careful caller would."""
    from ml.model.transforms import InputSpace, normalise, to_square

    described = InputSpace.from_dict(space)
    return normalise(np.stack([to_square(grey(seed, size), described) for seed in seeds]), described)


BOUNDARY = "predict-test"


def form(files: Sequence[tuple[str, str, bytes]]) -> bytes:
    """A multipart/form-data body of (field, file name, content)."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'.encode()
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + content
        + b"\r\n"
        for field, name, content in files
    ]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


FORM = f"multipart/form-data; boundary={BOUNDARY}"


def ask(
    headers: Mapping[str, str], body: bytes, kind: str, query: str = "", client: Client | None = None, **more: str
) -> Any:
    sender = client or Client()
    # Django's client leaves the type of an empty body out, unless it is named as a header.
    return sender.generic("POST", f"{PATH}{query}", body, headers={**headers, **more, "content-type": kind})
