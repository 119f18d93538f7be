"""Collect the named tensors from an unpickled object, and the facts about it that an importer needs."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml.importers.errors import ImportRefused
from ml.importers.pickles import Inert, Layer, TensorView, Unpickled

MAX_TENSORS: Final = 20_000
MAX_NAME: Final = 300
MAX_DEPTH: Final = 32
MAX_OUTPUT_BYTES: Final = 2 << 30
_MAX_LIST: Final = 1000
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net", "network", "module")


def collect(unpickled: Unpickled) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Collect tensors and facts.

    Returns:
        Tensors by name; and facts: layout, names of wrapping entries, ignored entries, class and layers of a module.

    Raises:
        ImportRefused: the object is not a network.
    """
    value, wrappers, ignored = _unwrap(unpickled.value)
    facts: dict[str, Any] = {"layout": unpickled.layout, "wrappers": wrappers, "class": None, "layers": {}}
    if isinstance(value, Layer):
        views = dict(_of_module(value, facts))
        facts["class"] = value.path
        facts["attributes"] = {
            key: plain
            for key, held in value.state.items()
            if isinstance(key, str) and not key.startswith("_") and (plain := _plain(held)) is not None
        }
        views |= {key: held for key, held in value.state.items() if isinstance(held, TensorView)}
    else:
        views = {key: held for key, held in value.items() if isinstance(held, TensorView)}
        ignored += [str(key)[:MAX_NAME] for key, held in value.items() if not isinstance(held, TensorView)]
    facts["ignored"] = ignored[:_MAX_LIST]
    return _arrays(unpickled, views), facts


def _unwrap(value: Any) -> tuple[Any, list[str], list[str]]:
    wrappers: list[str] = []
    ignored: list[str] = []
    while isinstance(value, dict):
        inner = next((key for key in _WRAPPERS if isinstance(value.get(key), (dict, Layer))), None)
        if inner is None and any(isinstance(held, TensorView) for held in value.values()):
            break
        if inner is None or len(wrappers) >= len(_WRAPPERS):
            raise ImportRefused(
                f"The file holds no network: its entries are {', '.join(sorted(map(str, value))[:8])[:200] or 'none'}. "
                "Give a state dict, or a checkpoint with one under 'state_dict' or 'model'."
            )
        ignored += [str(key)[:MAX_NAME] for key in value if key != inner]
        wrappers.append(inner)
        value = value[inner]
    if not isinstance(value, (dict, Layer)):
        raise ImportRefused(f"The file holds a {type(value).__name__}, not a network or its state dict.")
    return value, wrappers, ignored


def _of_module(root: Layer, facts: dict[str, Any]) -> Iterator[tuple[str, TensorView]]:
    """Parameters and persistent buffers of a module and its children, named as torch's state_dict names them."""
    stack: list[tuple[str, Layer, int]] = [("", root, 0)]
    seen = 0
    while stack:
        prefix, module, depth = stack.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_TENSORS:
            raise ImportRefused("The file nests modules deeper than any network does.")
        facts["layers"][prefix.removesuffix(".")] = module.path
        transient = module.state.get("_non_persistent_buffers_set", ())
        for group in ("_parameters", "_buffers"):
            for name, held in _dictionary(module, group).items():
                if isinstance(held, TensorView) and not (isinstance(transient, set) and name in transient):
                    yield f"{prefix}{name}", held
        for name, child in _dictionary(module, "_modules").items():
            if isinstance(child, Layer):
                stack.append((f"{prefix}{name}.", child, depth + 1))


def _dictionary(module: Layer, name: str) -> Mapping[Any, Any]:
    held = module.state.get(name, {})
    if not isinstance(held, dict):
        raise ImportRefused(f"{module.path} is not a torch module: its {name} is a {type(held).__name__}.")
    return held


def _plain(value: Any) -> Any:
    """The value where JSON can store it, else None."""
    if isinstance(value, (Layer, Inert, TensorView)):
        return None
    if isinstance(value, str):
        return value[:MAX_NAME]
    if isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 1 << 53):
        return value
    if isinstance(value, (list, tuple)) and len(value) <= _MAX_LIST and all(isinstance(each, str) for each in value):
        return [each[:MAX_NAME] for each in value]
    return None


def _arrays(unpickled: Unpickled, views: Mapping[Any, TensorView]) -> dict[str, NDArray[Any]]:
    if not 0 < len(views) <= MAX_TENSORS or not all(isinstance(key, str) and len(key) <= MAX_NAME for key in views):
        raise ImportRefused(f"The file names {len(views)} tensors: that is not a network.")
    arrays: dict[str, NDArray[Any]] = {}
    total = 0
    for key, view in views.items():
        # Several tensors can share one storage, so a small file could need any amount of memory.
        total += 8 * int(np.prod(view.shape, dtype=np.float64))
        if total > MAX_OUTPUT_BYTES:
            raise ImportRefused("The file's tensors are larger than any network that is served here.")
        arrays[key] = unpickled.array(view)
    return arrays
