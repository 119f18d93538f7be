"""The message format between the sandbox's parent and its children: a bounded JSON header, then arrays; no pickles.

A message is a length (4 bytes, little endian), that many bytes of JSON, and the bytes of each array and byte string
that the JSON announces, in their order. Open files are sent with the length (SCM_RIGHTS), so a child needs no path.
"""

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from math import prod
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

LENGTH: Final = struct.Struct("<I")
MAX_HEADER_BYTES: Final = 64 << 10
MAX_MESSAGE_BYTES: Final = 128 << 20
MAX_FILES: Final = 20
_DTYPES: Final = frozenset({"|u1", "|i1", "|b1", "<u2", "<i2", "<u4", "<i4", "<i8", "<f2", "<f4", "<f8"})
_MAX_DIMENSIONS: Final = 4
_ARRAY, _BYTES, _FILE = "$array", "$bytes", "$file"


class InvalidMessage(Exception):
    """A received message breaks the format or exceeds a limit."""


@dataclass(frozen=True)
class Contract:
    """What the parent requires of the reply to one function.

    Attributes:
        accept: gets the reply and the arguments; returns the result or raises ValueError.
        max_bytes: gets the arguments; returns the largest number of bytes of arrays that a valid reply has.
    """

    accept: Callable[..., Any]
    max_bytes: Callable[..., int]


CONTRACTS: dict[Callable[..., Any], Contract] = {}


def contract(accept: Callable[..., Any], max_bytes: Callable[..., int]) -> "Callable[[_Function], _Function]":
    """Register the contract for replies of the decorated function."""

    def registered(function: _Function) -> _Function:
        CONTRACTS[function] = Contract(accept, max_bytes)
        return function

    return registered


_Function = Callable[..., Any]


@dataclass(frozen=True)
class Packed:
    """A message ready to be sent."""

    header: bytes
    buffers: Sequence[memoryview]
    files: Sequence[BinaryIO]


def pack(message: Mapping[str, Any]) -> Packed:
    """Encode plain values, arrays, byte strings, open files and data classes, which arrive as mappings.

    Raises:
        TypeError: a value of another type.
        ValueError: the header is too long.
    """
    buffers: list[memoryview] = []
    files: list[BinaryIO] = []
    header = json.dumps(_encode(message, buffers, files), allow_nan=False).encode()
    if len(header) > MAX_HEADER_BYTES or len(files) > MAX_FILES:
        raise ValueError("the message is too long")
    return Packed(header, buffers, files)


def _encode(value: Any, buffers: list[memoryview], files: list[BinaryIO]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        buffers.append(memoryview(little.reshape(-1).view("u1").data))
        return {_ARRAY: [little.dtype.str, list(value.shape)]}
    if isinstance(value, bytes):
        buffers.append(memoryview(value))
        return {_BYTES: len(value)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_encode(each, buffers, files) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _encode(each, buffers, files) for name, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _encode(getattr(value, each.name), buffers, files) for each in fields(value)}
    if hasattr(value, "fileno"):
        files.append(value)
        return {_FILE: len(files) - 1}
    raise TypeError(f"a {type(value).__name__} is not a plain value")


def parse_header(data: bytes) -> dict[str, Any]:
    """Parse the header.

    Raises:
        InvalidMessage: it is not a JSON object.
    """
    try:
        header = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("the header is no JSON") from error
    if not isinstance(header, dict):
        raise InvalidMessage("the header is no JSON object")
    return header


def unpack(
    header: Mapping[str, Any], receive: Callable[[memoryview], None], max_bytes: int, files: Sequence[BinaryIO] = ()
) -> Any:
    """The header's value with its arrays and byte strings, filled by `receive` after all sizes were checked.

    Raises:
        InvalidMessage: the header describes no valid arrays, or more than `max_bytes` of them.
    """
    try:
        if sum(_sizes(header)) > max_bytes:
            raise InvalidMessage("the arrays are larger than they may be")
        return _fill_value(header, receive, files)
    except (RecursionError, TypeError, ValueError, IndexError) as error:
        raise InvalidMessage("the arrays are not described") from error


def _sizes(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            dtype, shape = _checked_shape(value[_ARRAY])
            yield prod(shape) * dtype.itemsize
        elif value.keys() == {_BYTES}:
            yield _count(value[_BYTES])
        else:
            for each in value.values():
                yield from _sizes(each)
    elif isinstance(value, list):
        for each in value:
            yield from _sizes(each)


def _fill_value(value: Any, receive: Callable[[memoryview], None], files: Sequence[BinaryIO]) -> Any:
    if isinstance(value, list):
        return [_fill_value(each, receive, files) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_ARRAY}:
        dtype, shape = _checked_shape(value[_ARRAY])
        array: NDArray[Any] = np.empty(shape, dtype)
        if array.size:
            receive(memoryview(array.reshape(-1).view("u1").data))
        return array
    if value.keys() == {_BYTES}:
        held = bytearray(_count(value[_BYTES]))
        receive(memoryview(held))
        return bytes(held)
    if value.keys() == {_FILE}:
        return files[_count(value[_FILE])]
    return {name: _fill_value(each, receive, files) for name, each in value.items()}


def _checked_shape(value: Any) -> tuple["np.dtype[Any]", tuple[int, ...]]:
    name, shape = value
    if name not in _DTYPES or not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise InvalidMessage("an array of an unknown kind")
    return np.dtype(name), tuple(_count(side) for side in shape)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_MESSAGE_BYTES:
        raise InvalidMessage("a size that is none")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
