"""Tests of the image cache: what shards return, and how builds behave with damaged files, full disks and crashes."""

import fcntl
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ml.data.shard_build import ImageRefused, build_shards
from ml.data.shards import Shards, ShardsInvalid, shard_bytes
from ml.model.transforms import InputSpace
from tests.conftest import PROJECT_ROOT

SPACE = InputSpace(32)


def pictures(folder: Path, count: int = 40) -> dict[str, Path]:
    """PNGs whose grey value is their number, in an unsorted order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {f"f{number:03d}.png": folder / f"f{number:03d}.png" for number in reversed(range(count))}
    for number, path in enumerate(reversed(paths.values())):
        Image.fromarray(np.full((48, 40), number % 256, np.uint8)).save(path)
    return paths


def build(sources: dict[str, Path], folder: Path, **settings: int) -> Shards:
    return build_shards(sources, SPACE, folder, progress=None, **{"workers": 2, "shard_images": 16, **settings})


def greys(array: NDArray[np.uint8]) -> list[int]:
    assert (array == array[:, :1, :1]).all()
    return [int(value) for value in array[:, 0, 0]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("shards")
    return build(pictures(folder / "images"), folder / "cache")


def test_shards_are_indexed_like_an_array(shards: Shards) -> None:
    assert (shards.shape, len(shards)) == ((40, 32, 32), 40)
    assert [path.name for path in sorted(shards.folder.glob("*.npy"))] == [f"shard-0000{n}.npy" for n in range(3)]
    assert shards.names == tuple(f"f{number:03d}.png" for number in range(40))
    assert greys(shards[np.array([39, 0, 17, 17, -1])]) == [39, 0, 17, 17, 39]
    assert greys(shards[10:40:10]) == [10, 20, 30]
    assert greys(shards[np.arange(40) % 20 == 5]) == [5, 25]
    assert greys(shards[[3, 4]]) == [3, 4]
    assert shards[16].shape == (32, 32)
    assert shards[16].max() == 16
    assert shards[np.array([[1, 2, 3], [4, 5, 6]])].shape == (2, 3, 32, 32)
    assert greys(np.asarray(shards)) == list(range(40))
    assert shards[[]].shape == (0, 32, 32)
    for wrong in (40, -41, [40]):
        with pytest.raises(IndexError):
            shards[wrong]
    with pytest.raises(IndexError):
        shards[:, 0]


def test_a_batch_is_a_copy_that_may_be_changed(shards: Shards) -> None:
    batch = shards[[7]]
    batch[:] = 255
    assert shards[7].max() == 7


def test_a_selection_keeps_the_requested_order(shards: Shards) -> None:
    chosen = shards.select(["f030.png", "f002.png", "f031.png"])
    assert chosen.shape == (3, 32, 32)
    assert greys(chosen[:]) == [30, 2, 31]
    assert greys(chosen.select(["f002.png"])[:]) == [2]
    with pytest.raises(KeyError):
        chosen.select(["f003.png"])


def _first_greys(shards: Shards, place: "multiprocessing.Queue[list[int]]") -> None:
    place.put(greys(shards[[5, 35]]))


def test_shards_can_be_sent_to_other_processes(shards: Shards) -> None:
    shards[:]
    sent = pickle.dumps(shards)
    assert len(sent) < 10_000
    assert greys(pickle.loads(sent)[[5, 35]]) == [5, 35]  # noqa: S301
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[list[int]] = context.Queue()
    child = context.Process(target=_first_greys, args=(shards, answers))
    child.start()
    assert answers.get(timeout=60) == [5, 35]
    child.join(60)


def test_opening_checks_lengths_and_verifying_checks_every_byte(tmp_path: Path) -> None:
    shards = build(pictures(tmp_path / "images"), tmp_path / "cache")
    shards.verify()
    path = tmp_path / "cache" / "shard-00001.npy"
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    Shards.open(tmp_path / "cache")
    with pytest.raises(ShardsInvalid, match=r"shard-00001\.npy is not what its manifest says\. Delete the folder"):
        shards.verify()
    os.truncate(path, 1000)
    with pytest.raises(ShardsInvalid, match=r"shard-00001\.npy is missing or cut off"):
        Shards.open(tmp_path / "cache")
    for text in ("{", "{}", json.dumps({"format": 0, "size": 32, "names": ["a"], "shards": []})):
        (tmp_path / "cache" / "manifest.json").write_text(text)
        with pytest.raises(ShardsInvalid, match="Delete the folder"):
            Shards.open(tmp_path / "cache")


def test_lost_shards_are_built_again_and_complete_ones_kept(tmp_path: Path) -> None:
    sources, cache = pictures(tmp_path / "images"), tmp_path / "cache"
    build(sources, cache)
    kept = (cache / "shard-00000.npy").stat().st_mtime_ns
    manifest = (cache / "manifest.json").read_text()
    os.truncate(cache / "shard-00002.npy", 100)
    (cache / ".shard-00002.npy.4711").write_bytes(b"left by a builder that was killed")
    again = build(sources, cache)
    again.verify()
    assert greys(again[:]) == list(range(40))
    assert (cache / "shard-00000.npy").stat().st_mtime_ns == kept
    assert (cache / "manifest.json").read_text() == manifest
    assert not list(cache.glob(".shard-*"))


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda path: path.write_bytes(b""), "file-empty"),
        (lambda path: path.write_bytes(b"no picture at all"), "format-not-recognised"),
        (lambda path: os.truncate(path, path.stat().st_size - 30), "decode-failed"),
        (lambda path: path.unlink(), "source-unreadable"),
    ],
)
def test_an_unreadable_image_stops_the_build_and_is_named(tmp_path: Path, damage: object, code: str) -> None:
    sources, cache = pictures(tmp_path / "images"), tmp_path / "cache"
    damage(sources["f020.png"])
    with pytest.raises(ImageRefused, match=r"f020\.png") as stderr:
        build(sources, cache)
    assert stderr.value.code == code
    # Only the first shard was complete before the bad image.
    assert sorted(path.name for path in cache.iterdir()) == [".lock", "shard-00000.npy"]
    Image.fromarray(np.full((48, 40), 20, np.uint8)).save(sources["f020.png"])
    assert greys(build(sources, cache)[:]) == list(range(40))


def test_other_picture_modes_become_eight_bit_grey(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint16) * 1000, (64, 1))
    grey = (np.arange(64) * 4).astype(np.uint8) + np.zeros((64, 1), np.uint8)
    pictures = {
        "sixteen.png": Image.fromarray(ramp),
        "rgba.png": Image.fromarray(np.dstack([grey] * 3 + [np.full_like(grey, 255)])),
        "palette.png": Image.fromarray(grey).convert("P"),
        "photo.jpg": Image.fromarray(grey),
        "alpha.png": Image.fromarray(grey).convert("LA"),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    shards = build({name: tmp_path / name for name in pictures}, tmp_path / "cache")
    for name, square in zip(shards.names, shards[:].astype(int), strict=True):
        assert square[0, 0] < 12, name
        assert square[0, -1] > 240, name
        assert (np.diff(square[16]) > 0).all(), name


BUILD = """
import sys
from pathlib import Path
from ml.data.shard_build import build_shards
from ml.data.shards import ShardsInvalid
from ml.model.transforms import InputSpace

source, cache = Path(sys.argv[1]), Path(sys.argv[2])
try:
    shards = build_shards(
        {path.name: path for path in source.iterdir()}, InputSpace(32), cache, workers=1, shard_images=16
    )
except ShardsInvalid as error:
    sys.exit(str(error))
print(len(shards), "torch" in sys.modules)
"""


def builder(source: Path, cache: Path, *before: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*before, sys.executable, "-c", BUILD, str(source), str(cache)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT_ROOT,
    )  # fmt: skip


def test_pngs_need_no_dicom_library(tmp_path: Path) -> None:
    """A training machine has no DICOM library, so neither the build nor its children may import one."""
    pictures(tmp_path / "images")
    for name in ("imagecodecs", "pydicom"):
        (tmp_path / "absent").mkdir(exist_ok=True)
        (tmp_path / "absent" / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name} here')")
    child = builder(tmp_path / "images", tmp_path / "cache", "env", f"PYTHONPATH={tmp_path / 'absent'}")
    out, stderr = child.communicate(timeout=60)
    assert out.split() == ["40", "False"], stderr


def test_of_several_processes_one_builds_and_the_others_wait(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    pictures(tmp_path / "images", 160)
    cache.mkdir()
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = [builder(tmp_path / "images", cache) for _ in range(3)]
        for child in started:
            assert child.stderr is not None
            assert "another process builds cache; waiting for it" in child.stderr.readline()
    answers = [child.communicate(timeout=120) for child in started]
    assert [out.split() for out, _ in answers] == [["160", "False"]] * 3, answers
    # Only the process that builds shows progress.
    assert sum("160/160" in stderr for _, stderr in answers) == 1
    Shards.open(cache).verify()


def test_a_killed_build_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    source, cache = tmp_path / "images", tmp_path / "cache"
    sources = pictures(source, 100)
    # Reading this named pipe blocks until another process writes to it.
    sources["f070.png"].unlink()
    os.mkfifo(sources["f070.png"])
    child = builder(source, cache)
    deadline = time.monotonic() + 60
    while not (cache / "shard-00003.npy").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    # Open for reading and writing, so that this does not wait for a reader that may have ended.
    writer = os.open(sources["f070.png"], os.O_RDWR)
    child.communicate(timeout=60)
    os.close(writer)
    left = sorted(path.name for path in cache.iterdir() if not path.name.startswith("."))
    assert left == [f"shard-0000{number}.npy" for number in range(4)]
    with pytest.raises(ShardsInvalid, match=r"manifest\.json is missing"):
        Shards.open(cache)
    kept = (cache / "shard-00003.npy").stat().st_mtime_ns
    sources["f070.png"].unlink()
    Image.fromarray(np.full((48, 40), 70, np.uint8)).save(sources["f070.png"])
    shards = build(sources, cache)
    shards.verify()
    assert greys(shards[:]) == list(range(100))
    assert (cache / "shard-00003.npy").stat().st_mtime_ns == kept
    assert not list(cache.glob(".shard-*"))


def test_a_write_that_fails_within_a_shard_leaves_none(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    child = builder(tmp_path / "images", tmp_path / "cache", "sh", "-c", 'ulimit -f 8; exec "$@"', "sh")
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "can't be written (File too large)" in stderr
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_full_disk_is_reported_and_complete_shards_are_kept(tmp_path: Path) -> None:
    """On a real file system that is full, before the first image and for the manifest after the last one."""
    if shutil.which("unshare") is None:
        pytest.skip("only Linux has private file systems for this")
    source, cache = tmp_path / "images", tmp_path / "disk"
    pictures(source)
    cache.mkdir()
    pages = sum(-(-shard_bytes(count, 32) // 4096) for count in (16, 16, 8)) * 4096
    for size, message in ((pages // 2, "need 0.00 GB, but the disk has"), (pages, "the disk is full. Free some space")):
        mounted = f'mount -t tmpfs -o size={size} tmpfs {cache} && "$@"; code=$?; ls -A {cache}; exit $code'
        child = builder(source, cache, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh")
        out, stderr = child.communicate(timeout=60)
        if "unshare" in stderr or "mount:" in stderr:
            pytest.skip("this machine allows no private file system of limited size")
        assert child.returncode == 1
        assert message in stderr
        files = out.split()
        assert "manifest.json" not in files
        assert not [name for name in files if name.startswith((".shard", ".manifest"))]
    assert [name for name in files if name.endswith(".npy")] == [
        "shard-00000.npy",
        "shard-00001.npy",
        "shard-00002.npy",
    ]


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShardsInvalid, match=r"can't be written \(Not a directory\)\. Choose another folder"):
        build(pictures(tmp_path / "images", 2), tmp_path / "file" / "cache")


def test_a_missing_permission_is_reported_and_a_complete_folder_is_read() -> None:
    # The root user may write anywhere, so this runs as another user, who cannot enter pytest's own folder.
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as temporary:
        locked = Path(temporary) / "locked"
        sources, cache = pictures(Path(temporary) / "images", 4), locked / "cache"
        build(sources, cache)
        Path(temporary).chmod(0o755)
        locked.chmod(0o555)
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(ShardsInvalid, match="no permission to write here"):
                build(sources, locked / "other")
            assert len(build(sources, cache)) == 4
        finally:
            if root:
                os.seteuid(0)
            locked.chmod(0o755)
