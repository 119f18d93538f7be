"""Prepare the object storage: create the bucket where it is missing, then write, read and delete one object."""

import uuid
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage, storages
from django.core.management.base import BaseCommand, CommandError

_MISSING = {"404", "NoSuchBucket", "NotFound"}
# The one region whose name AWS does not take as a location.
_DEFAULT_REGION = "us-east-1"


class Command(BaseCommand):
    help = "Create the bucket of S3_BUCKET where it is missing, and check that objects can be written and read."
    requires_system_checks: list[str] = []  # noqa: RUF012

    def handle(self, *args: Any, **options: Any) -> None:
        storage: Any = storages["default"]
        if isinstance(storage, FileSystemStorage):
            where = f"folder {storage.location}"
        else:
            where = f"bucket {storage.bucket_name}"
            _ensure_bucket(storage)
        try:
            _try_out()
        except (OSError, BotoCoreError, ClientError) as error:
            raise CommandError(f"Objects cannot be written to and read from the {where}: {error}") from error
        self.stdout.write(f"Objects are stored in the {where}.")


def _ensure_bucket(storage: Any) -> None:
    client, name = storage.connection.meta.client, storage.bucket_name
    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in _MISSING:
            raise CommandError(f"These keys may not use the bucket {name}: {error}. Check AWS_* and S3_*.") from error
        location = {} if storage.region_name in (None, _DEFAULT_REGION) else {"LocationConstraint": storage.region_name}
        try:
            client.create_bucket(Bucket=name, **({"CreateBucketConfiguration": location} if location else {}))
        except (BotoCoreError, ClientError) as refusal:
            raise CommandError(f"The bucket {name} is missing and cannot be made: {refusal}") from refusal
    except BotoCoreError as error:
        raise CommandError(f"The object storage does not answer: {error}. Check S3_ENDPOINT_URL.") from error


def _try_out() -> None:
    content = uuid.uuid4().bytes
    name = default_storage.save(f"health/{uuid.uuid4()}", ContentFile(content))
    try:
        with default_storage.open(name, "rb") as stored:
            if stored.read() != content:
                raise OSError("it returned other bytes than were written")
    finally:
        default_storage.delete(name)
