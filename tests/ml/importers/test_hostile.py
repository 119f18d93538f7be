"""Tests that malicious files are refused with a reason, and that none of their code runs."""

import io
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ml.importers import ImportRefused
from ml.importers import source as source_module
from ml.importers.pickles import REMEDY, unpickle
from ml.importers.source import read_source
from tests.ml.importers import foreign

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.value = (function, arguments)

    def __reduce__(self) -> Any:
        return self.value


def named(path: str) -> bytes:
    """Opcodes that name a global."""
    module, _, name = path.rpartition(" ")
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def archive(content: bytes, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as made:
        made.writestr("model/data.pkl", content)
        for name, held in entries.items():
            made.writestr(f"model/data/{name[1:]}", held)
    return out.getvalue()


def refused(content: bytes, tmp_path: Path) -> str:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ImportRefused) as caught:
        read_source(path)
    # The limits of the reader must not be the reason for the refusal.
    assert "OSError" not in str(caught.value)
    return str(caught.value)


def calls(target: Path) -> dict[str, bytes]:
    command = f"touch {target}"
    p = pickle.dumps
    return {
        "posix.system": p(Call(__import__("os").system, command), 2),
        "subprocess.Popen": p(Call(subprocess.Popen, ["touch", str(target)]), 2),
        "builtins.eval": p(Call(eval, f"open({str(target)!r}, 'w')"), 4),
        "builtins.exec": p(Call(exec, f"open({str(target)!r}, 'w')"), 4),
        "__builtin__.eval": b"\x80\x02" + named("__builtin__ eval") + text(f"open('{target}','w')") + b"\x85R.",
        "builtins.getattr": b"\x80\x02" + named("builtins getattr") + named("os name") + text("x") + b"\x86R.",
        "importlib.import_module": b"\x80\x02" + named("importlib import_module") + text("os") + b"\x85R.",
        "operator.attrgetter": b"\x80\x02" + named("operator attrgetter") + text("system") + b"\x85R.",
        "functools.partial": b"\x80\x02" + named("functools partial") + named("os system") + b"\x85R.",
        "_io.open": p(Call(open, str(target), "w"), 4),
        "pathlib": p(Call(Path.touch, target), 4),
        "torch.storage._load_from_bytes": p(Call(torch.storage._load_from_bytes, p(Call(eval, "1"))), 2),
        "torch.load": b"\x80\x02" + named("torch load") + text(str(target)) + b"\x85R.",
        "torch.hub": b"\x80\x02" + named("torch.hub load") + text("x/y") + b"\x85R.",
        # A dotted name reaches another module through one that is allowed.
        "torch.nn.modules.module": b"\x80\x04\x8c\x17torch.nn.modules.module\x8c\x0ftorch.os.system\x93"
        + text(command) + b"\x85R.",
        "torch.nn.functional.relu": b"\x80\x02" + named("torch.nn.functional relu") + text("x") + b"\x85R.",
        "torch.nn.modules.linear.Linear": b"\x80\x02" + named("torch.nn.modules.linear Linear") + text("x") + b"\x85R.",
        "old-style instance": b"(" + text(command) + b"ios\nsystem\n.",
        "extension": b"\x80\x02\x82\x01.",
    }  # fmt: skip


@pytest.mark.parametrize("name", calls(Path("x")))
@pytest.mark.parametrize("wrap", [lambda c: c, lambda c: MAGIC + c, archive], ids=["bare", "stream", "zip"])
def test_no_call_of_a_pickle_is_made(name: str, wrap: Callable[[bytes], bytes], tmp_path: Path) -> None:
    target = tmp_path / "executed"
    content = wrap(calls(target)[name])
    with pytest.raises(ImportRefused):
        unpickle(io.BytesIO(content))
    assert not target.exists()


@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "torch.storage._load_from_bytes"])
def test_the_reason_names_the_called_function(name: str, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    reason = refused(archive(calls(target)[name]), tmp_path)
    assert name in reason
    assert REMEDY in reason
    assert not target.exists()


def test_the_same_call_would_happen_without_the_reader(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    pickle.loads(calls(target)["posix.system"])  # noqa: S301 (that it works is what is shown)
    assert target.exists()


@pytest.mark.parametrize(
    "change",
    [
        # The opcode BUILD for a class, for one of our functions and for a built-in type.
        named("torch.nn.modules.linear Linear") + b"}" + text("state") + b"K\x01sb.",
        named("torch._utils _rebuild_tensor_v2") + b"}" + text("path") + b"K\x01sb.",
        b"N}" + text("__setstate__") + b"K\x01s\x860" + named("collections OrderedDict") + b"N}"
        + text("get") + b"K\x01s\x86b.",
        named("torch FloatStorage") + b"}" + text("dtype") + b"K\x01sb.",
    ],
)  # fmt: skip
def test_nothing_that_a_pickle_names_can_be_changed(change: bytes) -> None:
    with pytest.raises(ImportRefused):
        unpickle(io.BytesIO(MAGIC + b"\x80\x02" + change))


def storage(key: str, count: int) -> bytes:
    return (
        b"((" + text("storage") + named("torch FloatStorage") + text(key) + text("cpu")
        + b"\x8a\x08" + struct.pack("<q", count) + b"tQ"
    )  # fmt: skip


def tensor(count: int, offset: int, shape: str, strides: str) -> bytes:
    """The opcodes of {"w": tensor}."""
    return (
        b"\x80\x02}" + text("w") + named("torch._utils _rebuild_tensor_v2") + storage("0", count)
        + b"I%d\n" % offset + b"(" + shape.encode() + b"t(" + strides.encode() + b"t\x89}tRs."
    )  # fmt: skip


def test_a_tensor_within_its_storage_is_read() -> None:
    content = archive(tensor(4, 1, "I3\n", "I1\n"), _0=struct.pack("<4f", 1, 2, 3, 4))
    read = unpickle(io.BytesIO(content))
    assert read.array(read.value["w"]).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tensor(4, 2, "I3\n", "I1\n"), "beyond its storage"),
        (tensor(4, 0, "I3\n", "I2\n"), "beyond its storage"),
        (tensor(4, 0, "I1000000000\n", "I0\n"), "beyond its storage"),
        (tensor(4, -1, "I3\n", "I1\n"), "described wrongly"),
        (tensor(4, 0, "I3\n", "I-1\n"), "described wrongly"),
        (tensor(4, 0, "I1\nI1\n", "I1\n"), "described wrongly"),
        (tensor(4, 0, "I1\n" * 9, "I1\n" * 9), "described wrongly"),
        (tensor(1 << 40, 0, "I3\n", "I1\n"), "lacks a tensor's numbers"),
        (tensor(5, 0, "I3\n", "I1\n"), "lacks a tensor's numbers"),
        (tensor(-1, 0, "I3\n", "I1\n"), "described wrongly"),
    ],
)
def test_tensors_that_reach_out_of_their_storage(content: bytes, reason: str) -> None:
    with pytest.raises(ImportRefused, match=reason):
        unpickle(io.BytesIO(archive(content, _0=bytes(16))))


def laughs() -> bytes:
    """Thirty lists of two references to the list before: a gigabyte of paths in 300 bytes."""
    value: Any = "x"
    for _ in range(30):
        value = [value, value]
    return pickle.dumps({"state_dict": {"a": value}}, 2)


def deep(levels: int) -> bytes:
    return b"\x80\x02" + b"(" * levels + b"t" * levels + b"."


def nested_modules(levels: int) -> bytes:
    layer = named("torch.nn.modules.container Sequential") + b")\x81}" + text("_modules") + b"}" + text("0")
    return b"\x80\x02" + layer * levels + b"N" + b"ssb" * levels + b"."


HUGE = {
    "memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
    "long": b"\x80\x02\x8b" + struct.pack("<i", 0x7FFFFFFF) + b"x.",
    "bytearray": pickle.dumps(Call(bytearray, 1 << 42), 2),
    "laughs": laughs(),
    "deep": deep(500_000),
    "modules": nested_modules(5000),
    "empty": b"\x80\x02}.",
    "number": pickle.dumps(3, 2),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_would_exhaust_the_machine(name: str, tmp_path: Path) -> None:
    assert refused(archive(HUGE[name]), tmp_path)


@pytest.mark.parametrize("layout", ["stream", "zip"])
@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_a_file_that_was_cut_off(layout: str, share: float, tmp_path: Path) -> None:
    value = OrderedDict(weight=torch.ones(50, 50))
    content = foreign.save(value, tmp_path / "whole.pt", stream=layout == "stream").read_bytes()
    assert refused(content[: int(len(content) * share)], tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "it is not torch's"),
        (archive(pickle.dumps({}, 2), zipfile.ZIP_DEFLATED), "compressed"),
        (pickle.dumps({"w": [1.0]}, 2), "not one of torch.save"),
        (
            archive(pickle.dumps({"epoch": 3, "arch": "densenet121"}, 2)),
            "holds no network: its entries are arch, epoch",
        ),
    ],
)
def test_files_that_are_no_model(content: bytes, reason: str, tmp_path: Path) -> None:
    assert reason in refused(content, tmp_path)


def test_a_file_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "MAX_SOURCE_BYTES", 1 << 10)
    assert "a model has up to" in refused(bytes(2000), tmp_path)
    with pytest.raises(ImportRefused, match="existing file"):
        read_source(tmp_path / "absent.pt")


def test_the_child_can_open_nothing_more(tmp_path: Path) -> None:
    script = (
        "import os, socket, sys, json; from ml.importers.child import _limit; _limit(1 << 30, 5)\n"
        "def blocked(call):\n"
        "    try: call()\n"
        "    except OSError: return True\n"
        "    return False\n"
        f"print(json.dumps([blocked(lambda: open({str(tmp_path / 'x')!r}, 'w')), blocked(lambda: open('/etc/hosts')), "
        "blocked(socket.socket), blocked(os.pipe)]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[true, true, true, true]"
    assert list(tmp_path.iterdir()) == []
