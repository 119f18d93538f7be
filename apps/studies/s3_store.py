"""An S3 bucket as object storage, with a timeout for every wait.

The limits of one call (``S3_CONNECT_SECONDS``, ``S3_READ_SECONDS``, ``S3_ATTEMPTS``) bound a server that does not
answer; the deadline of an operation bounds one that answers very slowly. After three timeouts in a row the server is
not called for ``S3_PAUSE_SECONDS`` (a circuit breaker), so that it does not block every thread of this process.
"""

import base64
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
)
from django.conf import settings
from django.utils.translation import gettext as _
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, IncompleteRead

from apps.core.errors import OutOfSpaceError, UnavailableError
from apps.studies.object_store import StoredObject

_MEBIBYTE = 1024 * 1024
_ABSENT = ("NoSuchKey", "404")
_FULL = ("InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "507")
# An object that is older than this when it is sent again is written again, so that its time is new.
_YOUNG_SECONDS = 3600
_SILENT_IN_A_ROW = 3


class CircuitBreaker:
    """Fails calls at once while a server does not answer; one call after each pause tries it again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent = 0
        self._next_try = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The context of one operation. Raises UnavailableError while the pause lasts."""
        with self._lock:
            if self._silent >= _SILENT_IN_A_ROW:
                if time.monotonic() < self._next_try:
                    raise _no_answer()
                self._next_try = time.monotonic() + settings.S3_PAUSE_SECONDS
        try:
            yield
        except (ConnectTimeoutError, HTTPClientError, HTTPError, TimeoutError):
            with self._lock:
                self._silent += 1
                self._next_try = time.monotonic() + settings.S3_PAUSE_SECONDS
            raise
        except ClientError:
            # A refusal is an answer too.
            self._silent = 0
            raise
        self._silent = 0


class _Deadline:
    def __init__(self, size: int) -> None:
        self._ends = time.monotonic() + settings.S3_DEADLINE_SECONDS + size / _MEBIBYTE

    def check(self) -> None:
        if time.monotonic() > self._ends:
            raise TimeoutError("The object storage takes too long.")


class _TimedFile(io.FileIO):
    """A file that can be sent until the deadline."""

    def __init__(self, path: Path, deadline: _Deadline) -> None:
        super().__init__(path, "rb")
        self._deadline = deadline

    def read(self, size: int | None = -1, /) -> bytes:
        self._deadline.check()
        return super().read(-1 if size is None else size) or b""


class _TimedBody(io.RawIOBase):
    """The body of an answer, until the deadline. A body that is shorter than announced is an error."""

    def __init__(self, answer: Any) -> None:
        # botocore's own reader waits until a whole block has come, however slowly.
        self._body: HTTPResponse = answer["Body"]._raw_stream
        self._left = int(answer["ContentLength"])
        self._deadline = _Deadline(self._left)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._deadline.check()
        data = self._body.read1(min(len(buffer), self._left)) if self._left else b""
        if self._left and not data:
            raise IncompleteRead(0, self._left)
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._left:
            # Otherwise the rest of the body would be read as the next answer.
            self._body.close()
        else:
            self._body.release_conn()
        super().close()


class S3Store:
    """One bucket. Several threads may use its client at once; a forked process makes a client of its own."""

    def __init__(self, storage: Any) -> None:
        self._bucket = storage.bucket_name
        self._client = storage.connection.meta.client
        self._breaker = CircuitBreaker()

    def size(self, key: str) -> int | None:
        try:
            with self._calling():
                return int(self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])
        except FileNotFoundError:
            return None

    def put(self, key: str, source: Path) -> None:
        """Upload with the body's MD5: the server refuses a body that was damaged or cut off on the way."""
        with source.open("rb") as content:
            md5 = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).digest()
        deadline = _Deadline(source.stat().st_size)
        with self._calling(), _TimedFile(source, deadline) as body:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentMD5=base64.b64encode(md5).decode("ascii")
            )

    def renew(self, key: str, source: Path) -> None:
        with self._calling():
            modified = self._client.head_object(Bucket=self._bucket, Key=key)["LastModified"].timestamp()
        if modified < time.time() - _YOUNG_SECONDS:
            self.put(key, source)

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        with self._calling():
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            with io.BufferedReader(_TimedBody(answer), _MEBIBYTE) as body:
                yield cast(BinaryIO, body)

    def delete(self, key: str) -> None:
        with self._calling():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def move(self, key: str, to: str) -> None:
        with self._calling():
            self._client.copy_object(Bucket=self._bucket, Key=to, CopySource={"Bucket": self._bucket, "Key": key})
        self.delete(key)

    def entries(self, folder: str, after: str = "") -> Iterator[StoredObject]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{folder}/", **({"StartAfter": after} if after else {})
        )
        for page in self._each(pages):
            for found in page.get("Contents", ()):
                if found["Key"] > after:
                    yield StoredObject(found["Key"], found["Size"], found["LastModified"].timestamp())

    def folders(self, folder: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{folder}/", Delimiter="/"
        )
        return sorted(
            found["Prefix"].rstrip("/").rpartition("/")[2]
            for page in self._each(pages)
            for found in page.get("CommonPrefixes", ())
        )

    def _each(self, pages: Any) -> Iterator[Any]:
        following = iter(pages)
        while True:
            with self._calling():
                page = next(following, None)
            if page is None:
                return
            yield page

    @contextmanager
    def _calling(self) -> Iterator[None]:
        try:
            with self._breaker.watching():
                yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT:
                raise FileNotFoundError("The object is missing from the storage.") from error
            if code in _FULL:
                raise OutOfSpaceError("The object storage is full; try again later.") from error
            raise _no_answer() from error
        except (BotoCoreError, HTTPError, TimeoutError) as error:
            raise _no_answer() from error


def _no_answer() -> UnavailableError:
    return UnavailableError(_("The object storage did not answer; try again later."))
