"""Services of the registry: register and import versions, find them, and fetch their files."""

import re
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet

from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from apps.events.models import ModelEvent
from apps.events.services import publish
from apps.registry import engine
from apps.registry.manifest_shape import check_manifest_shape
from apps.registry.models import ModelVersion
from apps.registry.signals import version_registered
from apps.studies.spool import open_spool
from apps.studies.storage import open_object, put_file

_NUMBER = re.compile("[0-9]{1,10}")
_LARGEST_NUMBER = 2**31 - 1
_NAMED = 10
ARTIFACT_FILES = ("manifest.json", "model.safetensors")


def register(*, artifact_dir: Path, name: str | None = None) -> ModelVersion:
    """Verify an artifact, store its files and register it as the next number of its name.

    The same artifact again returns the same version, and replaces stored files that were damaged. A new version is
    evaluated on the operator's evaluation sets.

    Args:
        artifact_dir: a folder with `ARTIFACT_FILES`.
        name: the version's name; None takes the manifest's own.

    Raises:
        InvalidInputError: the artifact is damaged or of another format, or the name is invalid; the detail names the
            defect.
        UnavailableError: the object storage did not answer.
    """
    if name is not None:
        _require_name(name)
    try:
        artifact = engine.load_artifact(artifact_dir)
    except engine.ArtifactInvalid as error:
        raise InvalidInputError(str(error), f"artifact-{error.code}") from error
    check_manifest_shape(artifact.manifest)
    for file_name in ARTIFACT_FILES:
        _store(f"models/{artifact.sha256}/{file_name}", artifact_dir / file_name)
    known = ModelVersion.objects.filter(sha256=artifact.sha256).first()
    if known is not None:
        return known
    name = name or artifact.manifest.name
    last = ModelVersion.objects.filter(name=name).aggregate(last=Max("number"))["last"] or 0
    try:
        with transaction.atomic():
            version = ModelVersion.objects.create(
                name=name,
                number=last + 1,
                sha256=artifact.sha256,
                manifest=artifact.manifest.to_dict(),
                device_uid=f"2.25.{uuid.UUID(hex=artifact.sha256[:32]).int}",
                localised=_validated(artifact.manifest.localisation or {}),
            )
            publish(kind=ModelEvent.Type.REGISTERED, version_id=version.pk, data=version.identity)
            version_registered.send(ModelVersion, version=version)
            return version
    except IntegrityError as error:
        raise ConflictError("Another version was registered under this name at the same moment: try again.") from error


def record_localisation(*, version: ModelVersion, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Store what a measurement on boxes says of a version's maps; it replaces what was known of these findings.

    Args:
        figures: by label, with "validated".
    """
    row = ModelVersion.objects.select_for_update(no_key=True).get(pk=version.pk)
    kept = [label for label in row.localised if label not in figures]
    row.localised = version.localised = sorted({*kept, *_validated(figures)})
    row.save(update_fields=["localised"])


def _validated(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted(label for label, entry in figures.items() if entry["validated"])


def _require_name(name: str) -> None:
    try:
        validate_slug(name)
    except ValidationError as error:
        raise InvalidInputError(f"{name!r} is not a valid name: use letters, digits, - and _.") from error


def _store(key: str, path: Path) -> None:
    with open_spool() as spool:
        copy = spool.folder / path.name
        shutil.copyfile(path, copy)
        # Always written: the verified file replaces a damaged one.
        put_file(key, spool.adopt(copy))


def fetch_artifact(version: ModelVersion) -> Path:
    """The version's folder on this machine, copied from the object storage on first use.

    The caller verifies it when it loads it, and removes a damaged copy with `forget_artifact`.

    Raises:
        FileNotFoundError, UnavailableError: a file is missing from the storage, or it did not answer.
        OSError: this machine cannot hold the copy.
    """
    folder: Path = settings.MODEL_CACHE_DIR / version.sha256
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for file_name in ARTIFACT_FILES:
            key = f"{version.object_prefix}/{file_name}"
            with open_object(key) as stored, (draft / file_name).open("wb") as target:
                shutil.copyfileobj(stored, target)
        draft.rename(folder)
    except (OSError, UnavailableError):
        # Another process was first (the folder is there), or the storage failed (it is not).
        shutil.rmtree(draft, ignore_errors=True)
        if not folder.is_dir():
            raise
    return folder


def forget_artifact(version: ModelVersion) -> None:
    """Remove the version's folder from this machine, so that it is fetched again."""
    shutil.rmtree(settings.MODEL_CACHE_DIR / version.sha256, ignore_errors=True)


def find_version(reference: str, among: QuerySet[ModelVersion] | None = None) -> ModelVersion:
    """The version of ``name:number``.

    Args:
        among: those that the caller may name; None for an operator, who may name all.

    Raises:
        InvalidInputError: the reference is not name:number.
        NotFoundError: there is no such version among them.
    """
    name, _, number = reference.rpartition(":")
    if not name or not _NUMBER.fullmatch(number):
        raise InvalidInputError(f"{reference!r} is not name:number, such as starter:1.")
    known = ModelVersion.objects.all() if among is None else among
    version = known.filter(name=name, number=int(number)).first() if int(number) <= _LARGEST_NUMBER else None
    if version is None:
        names = ", ".join(str(each) for each in known[:_NAMED]) or "none"
        names += ", and others" if known[_NAMED:].exists() else ""
        hint = (
            f"Registered: {names}." if among is None else f"Your hospital may name {names}; an operator offers others."
        )
        raise NotFoundError(f"There is no version {reference}. {hint}", "model-not-found")
    return version


def import_artifact(*, file: Path, options: engine.ImportOptions) -> tuple[ModelVersion, engine.Imported]:
    """Convert a model file of another project and register it as a candidate.

    Raises:
        InvalidInputError: the file is refused, or the name is invalid; the detail says why, and nothing is stored.
    """
    _require_name(options.name)
    with tempfile.TemporaryDirectory() as folder:
        try:
            imported = engine.import_file(file, options, Path(folder))
        except (engine.ImportRefused, engine.ArtifactInvalid, engine.InputRejected) as error:
            raise InvalidInputError(str(error), "import-refused") from error
        except OSError as error:
            raise InvalidInputError(f"The import failed: {error}.", "import-refused") from error
        return register(artifact_dir=Path(folder), name=options.name), imported
