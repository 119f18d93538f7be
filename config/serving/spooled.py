"""Stores bodies and answers while they are transferred: small ones in memory, larger ones in files of the spool."""

import io
import os
import tempfile
import threading
from collections import Counter
from typing import IO

from django.conf import settings

from apps.core.errors import OutOfSpaceError, TooManyRequestsError
from apps.studies.spool import require_space

MEMORY_BYTES = 2 * 1024 * 1024
"""The largest body or answer that is kept in memory; a longer one goes to a file."""
WRITE_BYTES = 256 * 1024
"""How many bytes are collected before they are written, because each write switches to another thread."""
ALL_MEMORY_BYTES = 32 * 1024 * 1024
"""The memory for all bodies and answers of a process; beyond it, each one goes to a file with its next piece."""
_MERGE_BYTES = 16 * 1024
_CHECK_SPACE_EVERY = 16 * 1024 * 1024


class Quota:
    """Limits the bytes that one process spools, in total and for one address.

    The empty address stands for addresses that many clients share (of a proxy): only the total limit applies to them.
    """

    def __init__(self, total: int, per_address: int) -> None:
        self._total, self._per_address = total, per_address
        self._lock = threading.Lock()
        self._used = 0
        self._by_address: Counter[str] = Counter()
        self.in_memory = 0

    def reserve(self, address: str, count: int) -> None:
        """Count bytes before they are stored.

        Raises:
            OutOfSpaceError: all requests together have too many bytes.
            TooManyRequestsError: this address has too many bytes.
        """
        with self._lock:
            if self._used + count > self._total:
                raise OutOfSpaceError("Too many uploads are in progress; try again later.")
            if address and self._by_address[address] + count > self._per_address:
                raise TooManyRequestsError("Too many uploads from your address are in progress; try again later.")
            self._used += count
            self._by_address[address] += count
            self.in_memory += count

    def wrote(self, count: int) -> None:
        """Count bytes that were written from memory to a file."""
        with self._lock:
            self.in_memory -= count

    def release(self, address: str, count: int, in_memory: int) -> None:
        with self._lock:
            self._used -= count
            self.in_memory -= in_memory
            self._by_address[address] -= count
            if not self._by_address[address]:
                del self._by_address[address]


class Spooled:
    """Bytes that are added in pieces and read once, from the start.

    One thread at a time may use it. ``flush`` may block on a disk; the other methods do not.
    """

    def __init__(self, quota: Quota, address: str) -> None:
        self.size = 0
        self._quota, self._address = quota, address
        self._pieces: list[bytes | bytearray] = []
        self._pending = 0
        self._file: IO[bytes] | None = None
        self._next_check = 0

    def add(self, data: bytes) -> None:
        """Add one more piece.

        Raises:
            OutOfSpaceError, TooManyRequestsError: see ``Quota.reserve``.
        """
        self._quota.reserve(self._address, len(data))
        self.size += len(data)
        self._pending += len(data)
        if len(data) >= _MERGE_BYTES:
            self._pieces.append(data)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            # A client that sends single bytes must not cost an object for each byte.
            self._pieces[-1] += data
        else:
            self._pieces.append(bytearray(data))

    @property
    def wants_flush(self) -> bool:
        limit = MEMORY_BYTES if self._file is None else WRITE_BYTES
        return self._pending > limit or (self._pending > 0 and self._quota.in_memory > ALL_MEMORY_BYTES)

    def flush(self) -> None:
        """Write what is in memory to the file.

        Raises:
            OutOfSpaceError: the spool's disk is full, or would fall under its floor.
        """
        if self.size >= self._next_check:
            require_space(0)
            self._next_check = self.size + _CHECK_SPACE_EVERY
        try:
            if self._file is None:
                # The file has no name, so that the system removes it when the process ends.
                self._file = tempfile.TemporaryFile(dir=settings.SPOOL_DIR, buffering=0)  # noqa: SIM115
            for piece in self._pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OutOfSpaceError("The spool's disk is full; try again later.") from error
        self._quota.wrote(self._pending)
        self._pieces.clear()
        self._pending = 0

    def open(self) -> IO[bytes]:
        """All the bytes, from the start. ``flush`` must have been called where a file exists."""
        if self._file is None:
            return io.BytesIO(b"".join(self._pieces))
        assert not self._pieces
        self._file.seek(0)
        return self._file

    @property
    def in_file(self) -> bool:
        return self._file is not None

    def read_at(self, offset: int, count: int) -> bytes:
        """Some of the bytes; it may block on a disk where there is a file."""
        if self._file is not None:
            return os.pread(self._file.fileno(), count, offset)
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return bytes(self._pieces[0][offset : offset + count])

    def close(self) -> None:
        """Drop the bytes; it may be called again."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._quota.release(self._address, self.size, self._pending)
        self._pieces.clear()
        self.size = self._pending = 0
