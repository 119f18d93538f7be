"""Read tensors from files of torch.save without torch and without executing code from the file.

A pickle is a program. Here it may build containers, describe tensors and name classes of network layers. Every such
class is replaced by a stub that only keeps its state; nothing that a file names is imported. Supported are the zip
files of torch >= 1.6 and the older streams, with plain state dicts, wrapped ones, and whole pickled modules.
"""

import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from ml.importers.errors import ImportRefused

MAX_PICKLE_BYTES: Final = 64 << 20
MAX_DIMENSIONS: Final = 8
MAX_STORAGES: Final = 20_000
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001

REMEDY: Final = "Nothing was executed. Where the model was made, save its state_dict() and import that."

_DTYPES: Final[Mapping[str, str]] = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_LAYER_MODULES: Final = ("torch.nn.", "torchvision.models.", "torchvision.ops.", "torchxrayvision.", "timm.")
_CLASS_NAME: Final = re.compile(r"_?[A-Z]\w{0,63}\Z", re.ASCII)
_FUNCTION_NAME: Final = re.compile(r"[a-z_]\w{0,63}\Z", re.ASCII)
_INERT: Final = frozenset(
    {("torch", "device"), ("torch", "Size"), ("_codecs", "encode"), ("numpy", "dtype"), ("numpy", "ndarray")}
    | {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")}
)
_CONTAINERS: Final[Mapping[tuple[str, str], type]] = {
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
}


@dataclass(frozen=True)
class Storage:
    """A flat array of numbers in the file: `key` is its name, `first` the first element where it is a part of one."""

    key: str
    dtype: str
    count: int
    first: int = 0


@dataclass(frozen=True)
class TensorView:
    """The description of a tensor in a pickle, in elements of its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Sealed(type):
    """Base class that forbids setting attributes, which a pickle can do on every class that it names."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise ImportRefused(f"The file tries to change a class. {REMEDY}")


class Layer(metaclass=_Sealed):
    """A stub for an object of a class that the file names; `state` is its `__dict__`."""

    __slots__ = ("state",)
    path = ""

    def __new__(cls, *arguments: Any) -> "Layer":
        if arguments:
            raise ImportRefused(f"The file calls {cls.path} with arguments. {REMEDY}")
        made = super().__new__(cls)
        made.state = {}
        return made

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ImportRefused(f"The state of {self.path} is not a dictionary. {REMEDY}")
        self.state: dict[Any, Any] = state


class Inert:
    """A stub without content for a value that no import needs (a device, a NumPy number)."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        return None


class _Callable:
    """A function that a file names. Only those on the list can be called."""

    __slots__ = ("_function", "path")

    def __init__(self, path: str, function: Any = None) -> None:
        self.path, self._function = path, function

    def __call__(self, *arguments: Any) -> Any:
        if self._function is None:
            raise ImportRefused(f"The file calls {self.path}. {REMEDY}")
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise ImportRefused(f"The file tries to change {self.path}. {REMEDY}")


class _StorageType(_Callable):
    """torch.FloatStorage and similar classes, which a file can name and not call."""

    __slots__ = ("dtype",)

    def __init__(self, name: str) -> None:
        super().__init__(f"torch.{name}")
        self.dtype = _DTYPES[name]


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorView:
    numbers = (offset, *shape, *strides)
    if (
        not isinstance(storage, Storage)
        or not all(type(n) is int and 0 <= n < 1 << 40 for n in numbers)
        or not len(shape) == len(strides) <= MAX_DIMENSIONS
    ):
        raise ImportRefused("A tensor in the file is described wrongly: the file is damaged.")
    count = math.prod(shape)
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    # The first limit keeps a tensor inside its storage; the second stops strides of zero from making it larger.
    if count > storage.count or (count and last >= storage.count):
        raise ImportRefused("A tensor in the file reaches beyond its storage: the file is damaged.")
    return TensorView(storage, offset, tuple(shape), tuple(strides))


def _parameter(data: Any, *_: Any) -> Any:
    return data


_REBUILDERS: Final[Mapping[tuple[str, str], Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}


class _Unpickler(pickle.Unpickler):
    """An unpickler in which names resolve only to stubs, descriptions and plain containers."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, encoding="latin1")
        self.storages: dict[str, Storage] = {}
        self._layers: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        if (module, name) in _REBUILDERS:
            return _Callable(path, _REBUILDERS[module, name])
        if (module, name) in _INERT:
            return _Callable(path, lambda *_: Inert())
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _StorageType(name)
        if module == "__main__" or module.startswith(_LAYER_MODULES):
            if _CLASS_NAME.match(name):
                return self._layer(path)
            if module.startswith("torch.nn.") and _FUNCTION_NAME.match(name):
                return _Callable(path)
        elif module == "torch" and _FUNCTION_NAME.match(name):
            return _Callable(path)
        raise ImportRefused(f"The file names {path[:120]!r}, which is neither a tensor nor a network layer. {REMEDY}")

    def _layer(self, path: str) -> type:
        if path not in self._layers:
            self._layers[path] = _Sealed(path.rpartition(".")[2], (Layer,), {"__slots__": (), "path": path})
        return self._layers[path]

    def persistent_load(self, pid: Any) -> Any:
        """Resolve torch's references: a storage, or in older streams a class with its source text, which is ignored."""
        if isinstance(pid, tuple) and pid and pid[0] == "module" and len(pid) == 4 and isinstance(pid[1], type):
            return pid[1]
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise ImportRefused("The file refers to something that is not a storage: it is not torch's.")
        _, kind, key, _, count = pid[:5]
        view = pid[5] if len(pid) == 6 else None
        if not isinstance(kind, _StorageType) or not isinstance(key, str) or type(count) is not int or count < 0:
            raise ImportRefused("A storage in the file is described wrongly: the file is damaged.")
        whole = self.storages.setdefault(key, Storage(key, kind.dtype, count))
        if whole != Storage(key, kind.dtype, count) or len(self.storages) > MAX_STORAGES:
            raise ImportRefused("The file describes one storage in two ways, or too many of them.")
        return whole if view is None else _part(whole, view)


def _part(whole: Storage, view: Any) -> Storage:
    try:
        _, first, count = view
        if 0 <= first <= first + count <= whole.count:
            return Storage(whole.key, whole.dtype, int(count), int(first))
    except (TypeError, ValueError):
        pass
    raise ImportRefused("A storage in the file is described wrongly: the file is damaged.")


@dataclass(frozen=True, eq=False)
class Unpickled:
    """The object of a file, with TensorView for tensors and Layer for modules, and the bytes of the storages."""

    layout: str
    value: Any
    storages: Mapping[str, bytes]

    def array(self, view: TensorView) -> NDArray[Any]:
        """The tensor as an array; all floating point types become float32."""
        kind = "<u2" if view.storage.dtype == "bfloat16" else view.storage.dtype
        flat = np.frombuffer(self.storages[view.storage.key], dtype=kind)[view.storage.first :]
        strides = tuple(stride * flat.itemsize for stride in view.strides)
        part = np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides, writeable=False)
        if view.storage.dtype == "bfloat16":
            return np.asarray(part.astype(np.uint32, order="C") << 16, np.uint32).view(np.float32)
        return part.astype(np.float32 if part.dtype.kind == "f" else part.dtype, order="C")


def unpickle(stream: BinaryIO) -> Unpickled:
    """Read a file of torch.save from a seekable stream.

    Raises:
        ImportRefused: the file is damaged, or does something that a network's file does not need.
    """
    head = stream.read(4)
    stream.seek(0)
    try:
        return _read_zip(stream) if head[:2] == b"PK" else _read_stream(stream)
    except (ImportRefused, MemoryError):
        raise
    except (zipfile.BadZipFile, EOFError) as error:
        raise ImportRefused("The file is cut off or damaged. Copy it again.") from error
    except Exception as error:
        raise ImportRefused(f"The file is not one of torch's, or damaged ({type(error).__name__}).") from error


def _read_zip(stream: BinaryIO) -> Unpickled:
    with zipfile.ZipFile(stream) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1 or len(entries) != len(archive.infolist()):
            raise ImportRefused("The archive is not one of torch's: it has no data.pkl, or several.")
        if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
            raise ImportRefused("The archive is compressed, which torch's files never are. Save the model again.")
        root = pickles[0].removesuffix("data.pkl")
        if entries.get(f"{root}byteorder") and archive.read(f"{root}byteorder") != b"little":
            raise ImportRefused("The file was written big-endian. Save it on another machine.")
        if entries[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise ImportRefused("The file's description of its tensors is larger than any network needs.")
        unpickler = _Unpickler(io.BytesIO(archive.read(pickles[0])))
        value = unpickler.load()
        storages = {}
        for key, storage in unpickler.storages.items():
            info = entries.get(f"{root}data/{key}")
            if info is None or info.file_size < storage.count * _width(storage.dtype):
                raise ImportRefused("The archive lacks a tensor's numbers. Copy it again.")
            storages[key] = archive.read(info)
    return Unpickled("zip", value, storages)


def _read_stream(stream: BinaryIO) -> Unpickled:
    magic = _Unpickler(stream).load()
    if magic != _LEGACY_MAGIC or _Unpickler(stream).load() != _LEGACY_PROTOCOL:
        raise ImportRefused(f"The file is a pickle, but not one of torch.save. {REMEDY}")
    system = _Unpickler(stream).load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ImportRefused("The file was written big-endian. Save it on another machine.")
    unpickler = _Unpickler(stream)
    value = unpickler.load()
    order = _Unpickler(stream).load()
    if not isinstance(order, list) or set(order) != set(unpickler.storages):
        raise ImportRefused("The file's list of storages does not match its tensors: it is damaged.")
    storages = {}
    for key in order:
        storage = unpickler.storages[key]
        count = int.from_bytes(stream.read(8), "little", signed=True)
        wanted = storage.count * _width(storage.dtype)
        if count != storage.count or len(content := stream.read(wanted)) != wanted:
            raise ImportRefused("The file ends within a tensor. Copy it again.")
        storages[key] = content
    return Unpickled("stream", value, storages)


def _width(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
