"""What a scrub finds and repairs, and what it does not change."""

import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from apps.audit.services import Actor
from apps.inference.models import InferenceJob
from apps.ingest import scrub as module
from apps.ingest.intake import ingest_instance, inspect_file
from apps.ingest.scrub import object_fields
from apps.studies.models import Instance
from apps.studies.spool import open_spool
from apps.studies.storage import put_bytes
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital

DAY = 24 * 3600


@pytest.fixture(autouse=True)
def own_storage(tmp_path: Path, settings: Any) -> Path:
    """Objects of this test only: other tests leave some without their rows."""
    root = tmp_path / "objects"
    root.mkdir()
    default = settings.STORAGES["default"]
    settings.STORAGES = settings.STORAGES | {"default": default | {"OPTIONS": default["OPTIONS"] | {"location": root}}}
    return root


def scrub(*arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    out = io.StringIO()
    try:
        call_command("scrub_objects", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


def send(hospital: Hospital, data: bytes) -> Any:
    with open_spool() as spool:
        inspected = inspect_file(spool.write(data))
        return ingest_instance(inspected, tenant_id=hospital.tenant.id, by=Actor(name="test"), source="test")


def path_of(hospital: Hospital, data: bytes) -> Path:
    return Path(default_storage.path(f"t/{hospital.tenant.id}/{hashlib.sha256(data).hexdigest()}"))


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.fixture
def films(north: Hospital, south: Hospital, make_film: Callable[..., Path]) -> list[bytes]:
    """Three images of one hospital and one of another, stored."""
    found = [make_film(seed=seed, size=128).read_bytes() for seed in range(4)]
    for data in found[:3]:
        send(north, data)
    send(south, found[3])
    return found


def test_damaged_and_missing_objects_are_found_and_a_resend_restores_them(
    north: Hospital, films: list[bytes], own_storage: Path
) -> None:
    assert scrub() == (0, "4 objects, 4 of them hashed; 0 damaged, 0 missing, 0 without a row; 0 of these repaired.\n")
    flipped, missing = path_of(north, films[0]), path_of(north, films[1])
    content = bytearray(films[0])
    content[5000] ^= 1
    flipped.unlink()
    flipped.write_bytes(content)
    missing.unlink()

    code, said = scrub()
    assert code == 1
    assert "1 damaged, 1 missing, 0 without a row; 0 of these repaired." in said
    with tenant_tx(north.tenant.id):
        for data in films[:2]:
            instance = Instance.objects.select_related("series").get(sha256=hashlib.sha256(data).hexdigest())
            assert f"an image of study {instance.series.study_id}: its sender restores it" in said
    assert flipped.exists(), "Without --repair nothing is changed."

    code, said = scrub("--repair")
    assert (code, flipped.exists()) == (1, False), "What is missing cannot be repaired here."
    assert (own_storage / "quarantine" / flipped.relative_to(own_storage)).read_bytes() == content
    for data in films[:2]:
        send(north, data)
        assert path_of(north, data).read_bytes() == data
    assert scrub("--repair")[0] == 0
    with tenant_tx(north.tenant.id):
        assert InferenceJob.objects.count() == 3, "The studies wait for their reading as before."


def test_orphans_are_collected_after_a_day(north: Hospital, films: list[bytes], own_storage: Path) -> None:
    orphans = [hashlib.sha256(bytes([number])).hexdigest() for number in range(2)]
    keys = [
        f"t/{north.tenant.id}/{orphans[0]}",
        f"t/{north.tenant.id}/{orphans[0]}.1536.png",
        "models/" + orphans[0] + "/x",
    ]
    young = f"t/{north.tenant.id}/{orphans[1]}"
    picture = f"{path_of(north, films[0]).relative_to(own_storage)}.1536.png"
    foreign = f"t/01900000-0000-7000-8000-000000000000/{orphans[0]}"
    unknown = f"t/{north.tenant.id}/notes.txt"
    for key in (*keys, young, picture, foreign, unknown):
        put_bytes(key, b"content")
        age(own_storage / key, DAY + 60 if key != young else DAY - 600)
    code, said = scrub()
    assert (code, "3 without a row" in said) == (1, True)
    code, said = scrub("--repair")
    assert code == 0
    assert "t/01900000-0000-7000-8000-000000000000 is of a tenant that is not in this database" in said
    assert [(own_storage / key).exists() for key in keys] == [False] * 3
    assert [(own_storage / key).exists() for key in (young, picture, foreign, unknown)] == [True] * 4


def test_an_orphan_that_is_sent_again_is_young(north: Hospital, films: list[bytes], make_film: Any) -> None:
    """Between the object and its rows there is time for a collector, which must not take it for an old orphan."""
    key = f"t/{north.tenant.id}/{hashlib.sha256(b'content').hexdigest()}"
    put_bytes(key, b"content")
    age(Path(default_storage.path(key)), 2 * DAY)
    put_bytes(key, b"content")
    scrub("--repair")
    assert default_storage.exists(key)


def test_a_stopped_run_goes_on_where_it_was(
    north: Hospital, south: Hospital, films: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAVE_EVERY_SECONDS", 0.0)
    seen: list[str] = []
    whole = module.matches_key

    def stop_at_the_third(key: str) -> bool:
        seen.append(key)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return whole(key)

    monkeypatch.setattr(module, "matches_key", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        scrub()
    code, said = scrub()
    assert code == 0
    assert "Continuing where the last run stopped: 2 objects" in said
    assert "4 objects, 4 of them hashed" in said
    assert len(seen) == 5, "The third one is begun again, and no other."
    assert "Continuing" not in scrub()[1]


def test_a_share_is_hashed_and_every_size_compared(north: Hospital, films: list[bytes]) -> None:
    path = path_of(north, films[0])
    path.unlink()
    path.write_bytes(films[0][:-1])
    code, said = scrub("--share", "0", "--tenant", "north")
    assert (code, "3 objects, 0 of them hashed; 1 damaged" in said) == (1, True)
    assert scrub("--share", "0", "--tenant", "south")[0] == 0
    with pytest.raises(CommandError, match="0 to 1"):
        call_command("scrub_objects", "--share", "2")


def test_every_field_that_names_an_object_is_known() -> None:
    """A field that is new here: does it name objects under t/<tenant>/<SHA-256>? If not, call it something else."""
    assert {f"{model._meta.label}.{name}" for model, name in object_fields()} == {
        "studies.Instance.sha256",
        "reports.Report.pdf_sha256",
        "results.ResultObject.sha256",
    }
