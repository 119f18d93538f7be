"""The storage of objects (files on this machine, or an S3), and the static files that browsers get."""

from typing import Any

from whitenoise.compress import Compressor

from config.env import PROJECT_ROOT, env_float, env_int, env_str, home

STORAGES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": home() / "objects",
            "file_permissions_mode": 0o400,
            "directory_permissions_mode": 0o700,
        },
    },
    "staticfiles": {"BACKEND": "apps.core.static_files.StaticFilesStorage"},
}
# Timeouts for an S3 that accepts connections and does not answer: for each attempt of a call, and the deadline of a
# whole operation, which grows by a second for each MiB of data.
S3_CONNECT_SECONDS = env_float("S3_CONNECT_SECONDS", 5)
S3_READ_SECONDS = env_float("S3_READ_SECONDS", 10)
S3_ATTEMPTS = env_int("S3_ATTEMPTS", 2)
S3_DEADLINE_SECONDS = env_float("S3_DEADLINE_SECONDS", 25)
# After three operations in a row without an answer, calls fail at once for this long; then one tries again.
S3_PAUSE_SECONDS = env_float("S3_PAUSE_SECONDS", 5)
if env_str("S3_BUCKET"):
    from botocore.config import Config  # type: ignore[import-untyped]

    STORAGES["default"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": env_str("S3_BUCKET"),
            "endpoint_url": env_str("S3_ENDPOINT_URL") or None,
            "access_key": env_str("AWS_ACCESS_KEY_ID") or None,
            "secret_key": env_str("AWS_SECRET_ACCESS_KEY") or None,
            "region_name": env_str("AWS_REGION", "us-east-1"),
            "file_overwrite": True,
            "querystring_auth": True,
            "default_acl": None,
            "client_config": Config(
                connect_timeout=S3_CONNECT_SECONDS,
                read_timeout=S3_READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": S3_ATTEMPTS},
                max_pool_connections=32,
                tcp_keepalive=True,
                # AWS adds checksums besides Content-MD5, which other servers refuse.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        },
    }

STATIC_URL = "static/"
STATIC_ROOT = home() / "static"
# The viewer's bundle is built at set-up (`make viewer`). Without it, reading pages show the server's picture.
_VIEWER = PROJECT_ROOT / "build" / "viewer"
STATICFILES_DIRS: list[Any] = [PROJECT_ROOT / "static", *([("viewer", _VIEWER)] if _VIEWER.is_dir() else [])]
# What browsers may keep for ever: the names of static files have a hash, and so have those of the bundle.
WHITENOISE_IMMUTABLE_FILE_TEST = r"^.+(\.[0-9a-f]{12}\.[^/]+|/viewer/assets/[^/]+)$"
# Source maps are for developers' tools, and are half of all bytes.
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = (*Compressor.SKIP_COMPRESS_EXTENSIONS, "map")
