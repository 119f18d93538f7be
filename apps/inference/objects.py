"""Other forms of a stored instance: another transfer syntax, its attributes as JSON, one value, a picture.

Sandboxed child processes make them: neither pydicom nor a decoder reads a received object in the web process.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from apps.core.errors import InvalidInputError, UnavailableError
from apps.inference.rendering import sandbox
from apps.registry import engine
from apps.studies.models import Instance
from apps.studies.spool import open_spool
from apps.studies.storage import local_path

MOST_JSON_BYTES: Final = 64 * 1024 * 1024


class StoredObject(Protocol):
    """A DICOM object in the object storage, such as an `Instance`."""

    @property
    def object_key(self) -> str: ...
    @property
    def size(self) -> int: ...


@contextmanager
def explicit_le(instance: StoredObject) -> Iterator[Path]:
    """The instance in Explicit VR Little Endian, as a file of the spool.

    Raises:
        InvalidInputError: it cannot be converted.
        ObjectLostError, OutOfSpaceError, UnavailableError
    """
    with _made(instance, engine.write_explicit_le) as path:
        yield path


@contextmanager
def implicit_le(instance: StoredObject) -> Iterator[Path]:
    """As `explicit_le`, in Implicit VR Little Endian, which every DIMSE application knows (PS3.5 10.1)."""
    with _made(instance, engine.write_implicit_le) as path:
        yield path


@contextmanager
def bulkdata(instance: Instance, path: str) -> Iterator[Path]:
    """The bytes of one value, in Little Endian, as a file of the spool.

    Args:
        path: as `ml.dicom.dicom_json.write_bulkdata` takes it.

    Raises:
        InvalidInputError: the object has no such value.
        ObjectLostError, OutOfSpaceError, UnavailableError
    """
    with _made(instance, engine.write_bulkdata, path) as value:
        yield value


def metadata(instance: Instance, address: str) -> bytes:
    """All attributes as one object of DICOM JSON (PS3.18 annex F), in UTF-8.

    Args:
        address: of the instance, for the addresses of values that are left out.

    Raises:
        InvalidInputError: the attributes cannot be read.
        ObjectLostError, OutOfSpaceError, UnavailableError
    """
    with _made(instance, engine.write_metadata, address) as path:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise InvalidInputError("The attributes of this object are too many.", "metadata-too-large")
        written = path.read_bytes()
    # The child had bytes of unknown origin, so what it wrote is read before it is passed on.
    try:
        is_object = isinstance(json.loads(written), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise InvalidInputError("The attributes of this object cannot be read.", "decode-reply-invalid")
    return written


def render(
    instance: Instance, frame: int, window: Sequence[Any] | None, viewport: Sequence[float] | None
) -> NDArray[Any]:
    """One frame as it is displayed; the arguments are those of `ml.dicom.rendered.render_frame`.

    Raises:
        InvalidInputError: it cannot be decoded.
        ObjectLostError, UnavailableError
    """
    with local_path(instance.object_key) as path:
        pixels: NDArray[Any] = _result(engine.render_frame, path, frame, window, viewport)
    return pixels


@contextmanager
def _made(instance: StoredObject, write: Callable[..., None], *arguments: Any) -> Iterator[Path]:
    with local_path(instance.object_key) as source, open_spool(instance.size, durable=False) as spool:
        target = spool.folder / "made"
        _result(write, source, engine.Writable(target), *arguments)
        yield target


def _result(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return sandbox().submit(function, *arguments).result()
    except engine.InputRejected as error:
        kind = UnavailableError if error.code in engine.RETRYABLE else InvalidInputError
        raise kind(error.detail, error.code) from error
