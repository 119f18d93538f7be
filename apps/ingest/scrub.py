"""Compares the object storage with the database: it finds damaged, missing and orphaned objects.

It goes through the tenants one after the other, in the order of the keys, and stores its position in the storage, so
that a run that was stopped can continue.
"""

import logging
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.apps import apps
from django.db import models

from apps.ingest.scrub_state import ScrubPosition, Tally, clear_position, save_position
from apps.studies.models import Instance, object_key
from apps.studies.object_store import FileStore, StoredObject
from apps.studies.storage import matches_key, object_store
from apps.tenants.models import Tenant, TenantModel
from apps.tenants.scope import tenant_tx

logger = logging.getLogger(__name__)

ORPHAN_SECONDS: Final = 24 * 3600
"""An object without a row may belong to an upload in progress, but no upload takes this long."""
QUARANTINE: Final = "quarantine"
_SHA256_DIGITS = 64
_SAVE_EVERY_SECONDS = 5.0
# An object, or a PNG that was rendered from it (`apps.inference.rendering`).
_NAME = re.compile(r"[0-9a-f]{64}(\.\d+\.png)?")


def object_fields() -> list[tuple[type[models.Model], str]]:
    """The model fields that refer to objects: in tenant tables, those of 64 characters whose names end in sha256.

    By this convention the objects of a new table are never collected as orphans.
    """
    return [
        (model, each.name)
        for model in apps.get_models()
        if issubclass(model, TenantModel)
        for each in model._meta.get_fields()
        if isinstance(each, models.CharField) and each.name.endswith("sha256") and each.max_length == _SHA256_DIGITS
    ]


@dataclass
class Scrub:
    """One run.

    Args:
        share: the share of objects that are read and hashed, from 0 to 1. Of the others the size is compared.
        repair: whether damaged objects are moved into quarantine and orphans removed.
        report: called with a line for each problem, and for progress. No line contains patient data.
    """

    share: float
    repair: bool
    report: Callable[[str], None]
    position: ScrubPosition

    def __post_init__(self) -> None:
        self.tally = self.position.tally
        self._store = object_store()
        self._saved_at = time.monotonic()

    def run(self, tenants: Sequence[Tenant]) -> Tally:
        """Go through the tenants. Raises UnavailableError where the storage does not answer; run it again then."""
        for tenant in sorted(tenants, key=lambda each: str(each.pk)):
            if str(tenant.pk) >= self.position.tenant:
                self._scrub_tenant(tenant)
        return self.tally

    def end(self) -> None:
        """Remove temporary objects of killed processes, and the position, so that the next run starts again."""
        if self.repair:
            if isinstance(self._store, FileStore):
                self._store.remove_abandoned(ORPHAN_SECONDS)
            for entry in self._store.entries("health"):
                if is_old(entry):
                    self._store.delete(entry.key)
        clear_position()

    def _scrub_tenant(self, tenant: Tenant) -> None:
        folder = f"t/{tenant.pk}"
        after = self.position.after if self.position.tenant == str(tenant.pk) else ""
        sizes = _named_objects(tenant.pk)
        expected = deque(sha256 for sha256 in sorted(sizes) if f"{folder}/{sha256}" > after)
        for entry in self._store.entries(folder, after):
            name = entry.key.rpartition("/")[2]
            sha256 = name[:_SHA256_DIGITS]
            while expected and expected[0] < sha256:
                self._missing(tenant, expected.popleft())
            if expected and expected[0] == name:
                expected.popleft()
                self._check(tenant, entry, sizes[name])
            elif sha256 not in sizes:
                self._unnamed(tenant, entry, name)
            self._save_position(tenant, entry.key)
        for sha256 in expected:
            self._missing(tenant, sha256)

    def _check(self, tenant: Tenant, entry: StoredObject, size: int | None) -> None:
        self.tally.objects += 1
        is_whole = size in (None, entry.size)
        if is_whole and random.random() < self.share:
            self.tally.hashed += 1
            is_whole = matches_key(entry.key)
        if is_whole:
            return
        self.tally.damaged += 1
        if self.repair:
            self._store.move(entry.key, f"{QUARANTINE}/{entry.key}")
            self.tally.repaired += 1
        self._report_lost(tenant, entry.key, "damaged, moved into quarantine" if self.repair else "damaged")

    def _missing(self, tenant: Tenant, sha256: str) -> None:
        key = object_key(tenant.pk, sha256)
        # Not where its rows were removed, or it was stored again, since this run read the rows.
        if sha256 in _named_objects(tenant.pk, sha256) and self._store.size(key) is None:
            self.tally.missing += 1
            self._report_lost(tenant, key, "missing")

    def _report_lost(self, tenant: Tenant, key: str, how: str) -> None:
        with tenant_tx(tenant.pk):
            instance = Instance.objects.select_related("series").filter(sha256=key[-_SHA256_DIGITS:]).first()
        what = (
            f"an image of study {instance.series.study_id}: its sender restores it by sending it again"
            if instance
            else "a document: restore it from a backup"
        )
        logger.error("The object %s is %s.", key, how)
        self.report(f"{tenant.slug}: {key} is {how}. It is {what}.")

    def _unnamed(self, tenant: Tenant, entry: StoredObject, name: str) -> None:
        if not _NAME.fullmatch(name):
            self.report(f"{tenant.slug}: {entry.key} is not an object of Checxray; it is not changed.")
            return
        if not is_old(entry) or _named_objects(tenant.pk, name[:_SHA256_DIGITS]):
            return
        self.tally.orphans += 1
        if self.repair:
            self._store.delete(entry.key)
            self.tally.repaired += 1
        self.report(f"{tenant.slug}: {entry.key} belongs to no row{' and is removed' if self.repair else ''}.")

    def _save_position(self, tenant: Tenant, key: str) -> None:
        if time.monotonic() - self._saved_at < _SAVE_EVERY_SECONDS:
            return
        self._saved_at = time.monotonic()
        self.position.tenant, self.position.after = str(tenant.pk), key
        save_position(self.position)
        self.report(f"{tenant.slug}: {self.tally}")


def unknown_tenants() -> list[str]:
    """Folders of tenants that are not in this database. They are never changed: it may be the wrong database."""
    known = {str(pk) for pk in Tenant.objects.values_list("pk", flat=True)}
    return [name for name in object_store().folders("t") if name not in known]


def _named_objects(tenant_id: UUID, only: str | None = None) -> dict[str, int | None]:
    """The SHA-256 of every object that a row of the tenant refers to, and its size where a row has it."""
    found: dict[str, int | None] = {}
    with tenant_tx(tenant_id):
        for model, name in object_fields():
            for sha256, size in _values(model, name, only):
                found[sha256] = found.get(sha256) or size
    found.pop("", None)
    return found


def _values(model: type[models.Model], name: str, only: str | None) -> Iterator[tuple[str, int | None]]:
    rows: Any = model._default_manager.all()
    if only is not None:
        rows = rows.filter(**{name: only})
    if model is Instance:
        yield from rows.values_list(name, "size").iterator()
    else:
        yield from ((sha256, None) for sha256 in rows.values_list(name, flat=True).iterator())


def is_old(entry: StoredObject) -> bool:
    """Whether an object is so old that no upload in progress can still create its row."""
    return entry.modified < time.time() - ORPHAN_SECONDS
