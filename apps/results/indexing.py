"""Makes instances of result objects that are older than this: until then, peers do not find them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from apps.audit.services import Actor
from apps.core.errors import ConflictError, ObjectLostError
from apps.registry import engine
from apps.results.models import ResultObject
from apps.studies.models import Instance
from apps.studies.services import store_instance
from apps.studies.spool import SpooledFile
from apps.studies.storage import local_path
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx

_BATCH: Final = 100


@dataclass
class IndexSummary:
    """The numbers of one run for one tenant."""

    indexed: int = 0
    left_out: int = 0


class _LeftOutError(Exception):
    """An object that becomes no instance; its text has no patient data."""


def index_objects(*, tenant: Tenant, by: Actor, report: Callable[[ResultObject, str], None]) -> IndexSummary:
    """Make an instance of each result object of a tenant that is none, one object a transaction.

    A run that was stopped can be repeated. No transaction is open while an object is read.

    Args:
        report: is called with each object that is left out, and the reason; the next run tries it again.

    Raises:
        UnavailableError: the storage did not answer; run it again.
    """
    done = IndexSummary()
    last: UUID | None = None
    while rows := _next(tenant, last):
        for row in rows:
            last = row.pk
            try:
                _index(tenant, row, by)
            except _LeftOutError as error:
                done.left_out += 1
                report(row, str(error))
            else:
                done.indexed += 1
    return done


def _next(tenant: Tenant, last: UUID | None) -> list[ResultObject]:
    with tenant_tx(tenant.pk):
        rows = _no_instances().order_by("pk")
        return list((rows.filter(pk__gt=last) if last else rows)[:_BATCH])


def _no_instances() -> "QuerySet[ResultObject, Any]":
    return ResultObject.objects.exclude(Exists(Instance.objects.filter(sop_instance_uid=OuterRef("sop_instance_uid"))))


def _index(tenant: Tenant, row: ResultObject, by: Actor) -> None:
    try:
        with local_path(row.object_key) as path:
            found = engine.inspect(path)
            with tenant_tx(tenant.pk):
                stored = store_instance(spooled=SpooledFile(path, row.sha256, row.size), found=found, by=by)
                if stored.in_conflict:
                    # Undoes the transaction. Usually the patient was corrected after it was made.
                    raise _LeftOutError("the patient of the study contradicts it, or is in conflict")
    except (FileNotFoundError, ObjectLostError) as error:
        raise _LeftOutError("the object is missing or damaged") from error
    except engine.InputRejected as error:
        raise _LeftOutError(error.code) from error
    except ConflictError as error:
        raise _LeftOutError(error.detail) from error
