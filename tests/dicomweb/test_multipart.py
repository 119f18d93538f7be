"""The multipart reader, byte by byte and at its limits."""

import random
from collections.abc import Iterator
from io import BytesIO

import pytest
from django.test import override_settings

from apps.core.errors import ChecxrayError, InvalidInputError, TooLargeError, UnsupportedTypeError
from apps.dicomweb import multipart as reader
from apps.dicomweb.multipart import Part, RefusedPart, receive
from apps.studies.spool import Spool, open_spool
from tests.dicomweb.web import BOUNDARY, MULTIPART, multipart

PARTS = [b"", b"\r\n", b"one\r\n--checxray-test-boundar", b"\r\n--" + bytes(range(256)) * 40, b"--\r\n\r", b"last"]


@pytest.fixture
def spool() -> Iterator[Spool]:
    with open_spool() as opened:
        yield opened


def contents(parts: list[Part]) -> list[bytes | str]:
    return [part.code if isinstance(part, RefusedPart) else part.path.read_bytes() for part in parts]


EMPTY = "file-empty"


def read(body: bytes, spool: Spool, content_type: str = MULTIPART, length: int | None = None) -> list[bytes | str]:
    return contents(receive(BytesIO(body), content_type=content_type, length=length, spool=spool))


class Drip:
    """A stream that gives at most so many bytes at a time, then an error where one is given."""

    def __init__(self, body: bytes, step: int, error: Exception | None = None) -> None:
        self._body, self._step, self._error = BytesIO(body), step, error

    def read(self, size: int) -> bytes:
        data = self._body.read(min(size, self._step))
        if not data and self._error is not None:
            raise self._error
        return data


@pytest.mark.parametrize("step", [1, 2, 3, 7, 61, 4096])
def test_parts_are_exact_however_the_body_is_cut(step: int, spool: Spool) -> None:
    body = multipart(PARTS)
    parts = receive(Drip(body, step), content_type=MULTIPART, length=len(body), spool=spool)
    assert contents(parts) == [EMPTY, *PARTS[1:]]


def test_random_bodies(spool: Spool) -> None:
    rng = random.Random(7)
    for _ in range(100):
        films = [
            b"".join(rng.choice([b"\r", b"\n", b"-", b"--", BOUNDARY.encode(), b"x"]) for _ in range(rng.randrange(60)))
            for _ in range(rng.randrange(1, 4))
        ]
        if any(b"\r\n--" + BOUNDARY.encode() in b"\r\n" + film for film in films):
            continue
        body = multipart(films)
        parts = receive(Drip(body, rng.randrange(1, 50)), content_type=MULTIPART, length=None, spool=spool)
        assert contents(parts) == [film or EMPTY for film in films]


@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"This is a message with --dashes.\r\n", b"x" * 5000 + b"\r\n"])
@pytest.mark.parametrize("step", [1, 4096])
def test_preamble_and_epilogue_are_skipped(preamble: bytes, step: int, spool: Spool) -> None:
    body = preamble + multipart([b"film"]) + b"\r\nThe end.\r\n"
    assert contents(receive(Drip(body, step), content_type=MULTIPART, length=None, spool=spool)) == [b"film"]


@pytest.mark.parametrize(
    "content_type",
    [
        f"multipart/related; type=application/dicom; boundary={BOUNDARY}",
        f"Multipart/Related;boundary={BOUNDARY}",
        f'multipart/related; boundary="{BOUNDARY}"; type="Application/DICOM"; start="<a>"',
    ],
)
def test_content_types_that_are_taken(content_type: str, spool: Spool) -> None:
    assert read(multipart([b"film"]), spool, content_type) == [b"film"]


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        ("", UnsupportedTypeError),
        ("application/json", UnsupportedTypeError),
        (f"multipart/form-data; boundary={BOUNDARY}", UnsupportedTypeError),
        (f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}', UnsupportedTypeError),
        ("multipart/related; type=application/dicom", InvalidInputError),
        (f"multipart/related; boundary={'x' * 201}", InvalidInputError),
        ('multipart/related; boundary="a\x01b"', InvalidInputError),
    ],
)
def test_content_types_that_are_refused(content_type: str, error: type[ChecxrayError], spool: Spool) -> None:
    with pytest.raises(error):
        read(multipart([b"film"]), spool, content_type)


GOOD = multipart([b"film"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"x" * (reader.MAX_PREAMBLE_BYTES + 1),
        GOOD[:-4],
        GOOD[:-20],
        GOOD[:60],
        f"--{BOUNDARY}--\r\n".encode(),
        f"--{BOUNDARY}\r\nbad header\r\n\r\nfilm\r\n--{BOUNDARY}--".encode(),
        f"--{BOUNDARY}\r\n: empty\r\n\r\nfilm\r\n--{BOUNDARY}--".encode(),
        f"--{BOUNDARY}\r\nX: {'y' * 5000}\r\n\r\nfilm\r\n--{BOUNDARY}--".encode(),
        f"--{BOUNDARY}\r\n{'X: y' * 1}\r\n".encode() + b"X: y\r\n" * 20 + f"\r\nfilm\r\n--{BOUNDARY}--".encode(),
        f"--{BOUNDARY}garbage\r\n\r\nfilm\r\n--{BOUNDARY}--".encode(),
    ],
)
def test_malformed_bodies(body: bytes, spool: Spool) -> None:
    with pytest.raises(InvalidInputError):
        read(body, spool)


def test_a_body_shorter_than_announced(spool: Spool) -> None:
    with pytest.raises(InvalidInputError, match="cut off"):
        read(GOOD, spool, length=len(GOOD) + 1)
    with pytest.raises(InvalidInputError, match="cut off"):
        receive(Drip(GOOD[:30], 10, OSError("reset")), content_type=MULTIPART, length=None, spool=spool)


def test_limits(spool: Spool) -> None:
    with override_settings(MAX_UPLOAD_BYTES=1000), pytest.raises(TooLargeError):
        read(GOOD, spool, length=1001)
    with override_settings(MAX_UPLOAD_BYTES=1000), pytest.raises(TooLargeError):
        read(multipart([b"x" * 1000]), spool)
    with override_settings(MAX_UPLOAD_PARTS=2), pytest.raises(TooLargeError):
        read(multipart([b"a", b"b", b"c"]), spool)
    with override_settings(MAX_INSTANCE_BYTES=10):
        assert read(multipart([b"small", b"x" * 11, b"end"]), spool) == [b"small", "file-too-large", b"end"]


def test_parts_of_another_type_are_refused_alone(spool: Spool) -> None:
    body = multipart([b"text", b"film"]).replace(b"application/dicom", b"text/plain", 1)
    assert read(body, spool) == ["part-type-not-supported", b"film"]
