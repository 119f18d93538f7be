"""Checks the stored files of model versions: damaged, missing, or of a version that is not registered."""

import hashlib
import json
import random

from apps.ingest.scrub import QUARANTINE, Scrub, is_old
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.studies.storage import object_store, open_object, read_bytes

MANIFEST, WEIGHTS = "manifest.json", "model.safetensors"


def scrub_models(scrub: Scrub) -> None:
    """Check the files of every registered version, and collect those of versions that are not registered.

    Raises:
        UnavailableError: the storage did not answer.
    """
    for version in ModelVersion.objects.order_by("pk"):
        for name, is_whole in ((MANIFEST, _manifest_is_whole), (WEIGHTS, _weights_are_whole)):
            key = f"{version.object_prefix}/{name}"
            scrub.tally.objects += 1
            try:
                if random.random() < scrub.share:
                    scrub.tally.hashed += 1
                    if not is_whole(version, key):
                        _damaged(scrub, version, key)
                elif object_store().size(key) is None:
                    raise FileNotFoundError
            except FileNotFoundError:
                scrub.tally.missing += 1
                scrub.report(f"{version}: {key} is missing. Register the same artifact again to restore it.")
    _collect(scrub)


def _damaged(scrub: Scrub, version: ModelVersion, key: str) -> None:
    scrub.tally.damaged += 1
    if scrub.repair:
        object_store().move(key, f"{QUARANTINE}/{key}")
        scrub.tally.repaired += 1
    scrub.report(f"{version}: {key} is damaged. Register the same artifact again to restore it.")


def _collect(scrub: Scrub) -> None:
    for entry in object_store().entries("models"):
        sha256 = entry.key.split("/")[1]
        if is_old(entry) and not ModelVersion.objects.filter(sha256=sha256).exists():
            scrub.tally.orphans += 1
            if scrub.repair:
                object_store().delete(entry.key)
                scrub.tally.repaired += 1
            scrub.report(f"{entry.key} belongs to no version{' and is removed' if scrub.repair else ''}.")


def _manifest_is_whole(version: ModelVersion, key: str) -> bool:
    try:
        return engine.Manifest.from_dict(json.loads(read_bytes(key))).sha256 == version.sha256
    except (ValueError, RecursionError, engine.ArtifactInvalid):
        return False


def _weights_are_whole(version: ModelVersion, key: str) -> bool:
    with open_object(key) as stored:
        digest = hashlib.file_digest(stored, "sha256").hexdigest()  # type: ignore[arg-type]
    return bool(digest == version.manifest["weights_sha256"])
