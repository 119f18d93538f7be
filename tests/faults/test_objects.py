"""A full disk, and an S3 that hangs, cuts and is slow: every object that was accepted is there."""

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from django.core.management import CommandError, call_command
from django.db import connections
from pydicom import dcmread

from apps.core.errors import UnavailableError
from apps.studies.models import Instance
from apps.studies.storage import local_path
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.faults.invariants import broken_invariants
from tests.faults.object_server import BUCKET, ObjectServer
from tests.faults.tcp_proxy import TcpProxy
from tests.ingest.test_duplicates import SUCCESS, c_store, stow

OUT_OF_RESOURCES = 0xA700


@pytest.fixture
def small_disk(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A file system of 1 MiB for the objects; the spool is on another one."""
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("A small file system cannot be mounted here: run as root.")
    default = settings.STORAGES["default"]
    settings.STORAGES = settings.STORAGES | {"default": default | {"OPTIONS": default["OPTIONS"] | {"location": root}}}
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", str(root)], check=False)


@pytest.mark.parametrize(
    "floor", [pytest.param(0, id="to-the-last-byte"), pytest.param(None, id="with-its-floor", marks=pytest.mark.long)]
)
def test_a_disk_of_objects_that_fills_up_loses_nothing(
    floor: int | None, small_disk: Path, north: Hospital, make_film: Callable[..., Path], tmp_path: Path, settings: Any
) -> None:
    settings.OBJECT_FREE_FLOOR_BYTES = floor
    filler = small_disk / "filler"
    filler.write_bytes(bytes(400_000))
    films = [make_film(seed=seed, size=128).read_bytes() for seed in range(30)]
    uids = [str(dcmread(BytesIO(film), stop_before_pixels=True).SOPInstanceUID) for film in films]

    def sent(number: int) -> tuple[str, int]:
        try:
            if number % 2:
                folder = tmp_path / f"received-{number}"
                folder.mkdir(exist_ok=True)
                status = c_store(folder, films[number])
                assert status in (SUCCESS, OUT_OF_RESOURCES)
                return "dimse", status
            answer = stow(north, films[number])
            assert answer.status_code == 200 or (answer.status_code in (503, 507) and answer["Retry-After"])
            return "stow", answer.status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        log = list(threads.map(sent, range(len(films))))
    accepted = [uid for uid, answer in zip(uids, log, strict=True) if answer in (("stow", 200), ("dimse", SUCCESS))]
    assert 0 < len(accepted) < len(films)
    check(north, small_disk, accepted)

    filler.unlink()
    small_disk_is_larger = subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=False)
    assert small_disk_is_larger.returncode == 0
    assert all(sent(number)[1] in (200, SUCCESS) for number in range(len(films)))
    check(north, small_disk, uids)


def check(hospital: Hospital, root: Path, accepted: list[str]) -> None:
    """Exactly the accepted instances are stored; each object has its row, and no temporary file is left."""
    assert broken_invariants(hospital, accepted, all_read=False) == []
    with tenant_tx(hospital.tenant.id):
        named = {each.sha256 for each in Instance.objects.all()}
    folder = root / "t" / str(hospital.tenant.id)
    assert len(named) == len(accepted)
    assert named == {path.name for path in folder.iterdir()}
    assert not list((root / "incoming").iterdir())


@pytest.fixture
def s3(tmp_path: Path, settings: Any) -> Iterator[TcpProxy]:
    with ObjectServer(tmp_path / "s3") as server:
        storage = server.storage()
        upstream = int(storage["OPTIONS"]["endpoint_url"].rpartition(":")[2])
        with TcpProxy(upstream) as proxy:
            storage["OPTIONS"] |= {
                "endpoint_url": f"http://127.0.0.1:{proxy.port}",
                "client_config": Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1}),
            }
            settings.STORAGES = settings.STORAGES | {"default": storage}
            settings.S3_DEADLINE_SECONDS, settings.S3_PAUSE_SECONDS = 2, 1
            yield proxy


def objects(tmp_path: Path) -> dict[str, bytes]:
    root = tmp_path / "s3" / BUCKET / "t"
    return {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_s3_that_hangs_is_answered_for_in_bounded_time(
    s3: TcpProxy, north: Hospital, make_film: Callable[..., Path], tmp_path: Path
) -> None:
    first, second = (make_film(seed=seed, size=256).read_bytes() for seed in (1, 2))
    assert stow(north, first).status_code == 200

    s3.mode = "hang"
    took = []
    for attempt in range(5):
        began = time.monotonic()
        if attempt % 2:
            assert c_store(tmp_path, second) == OUT_OF_RESOURCES
        else:
            answer = stow(north, second)
            assert (answer.status_code, bool(answer["Retry-After"])) == (503, True)
        took.append(time.monotonic() - began)
    assert max(took) < 10
    assert min(took[3:]) < 0.8, "After three silences in a row a call fails at once."

    s3.mode = "pass"
    s3.drop_connections()
    time.sleep(1.1)
    assert stow(north, second).status_code == 200
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in objects(tmp_path).items())
    assert len(objects(tmp_path)) == 2


@pytest.mark.parametrize("mode", ["cut", "drip"])
def test_a_download_that_is_cut_or_drips_is_an_outage_and_no_damage(
    mode: str, s3: TcpProxy, north: Hospital, make_film: Callable[..., Path]
) -> None:
    assert stow(north, make_film(size=256).read_bytes()).status_code == 200
    with tenant_tx(north.tenant.id):
        key = Instance.objects.get().object_key
    s3.mode = mode
    began = time.monotonic()
    with pytest.raises(UnavailableError) as refused, local_path(key):
        raise AssertionError
    assert refused.value.code == "unavailable"
    assert time.monotonic() - began < 10
    s3.mode = "pass"
    s3.drop_connections()
    with local_path(key) as path:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == key[-64:]


def test_objects_of_s3_are_scrubbed_and_repaired(
    s3: TcpProxy, north: Hospital, make_film: Callable[..., Path], tmp_path: Path
) -> None:
    film = make_film(size=256).read_bytes()
    assert stow(north, film).status_code == 200
    call_command("scrub_objects", "--tenant", "north")
    (stored,) = [path for path in (tmp_path / "s3" / BUCKET / "t").rglob("*") if path.is_file()]
    stored.write_bytes(film[:-1] + bytes([film[-1] ^ 1]))
    with pytest.raises(CommandError):
        call_command("scrub_objects", "--tenant", "north")
    call_command("scrub_objects", "--tenant", "north", "--repair")
    assert objects(tmp_path) == {}
    assert stow(north, film).status_code == 200
    assert list(objects(tmp_path).values()) == [film]
    call_command("scrub_objects", "--tenant", "north")
