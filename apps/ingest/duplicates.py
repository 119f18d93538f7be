"""Resolves a known SOPInstanceUID with other bytes: it may be the same instance, sent by another system."""

from uuid import UUID

from apps.audit.services import Actor
from apps.core.errors import InvalidInputError, ObjectLostError
from apps.inference.rendering import is_same_instance
from apps.registry import engine
from apps.studies.models import Instance
from apps.studies.services import replace_lost_object
from apps.studies.spool import SpooledFile
from apps.studies.storage import local_path
from apps.tenants.scope import tenant_tx


def resolve_duplicate(
    *, spooled: SpooledFile, found: engine.Preflight, tenant_id: UUID, by: Actor
) -> tuple[UUID, bool] | None:
    """Compare a refused duplicate with the stored instance, outside of every transaction.

    Where the stored object is lost, the duplicate replaces it if its attributes are the same.

    Returns:
        The study and whether its object was restored; None where the duplicate is another instance.

    Raises:
        UnavailableError: the storage did not answer, or no decoder could be started; nothing was decided.
    """
    with tenant_tx(tenant_id):
        instances = Instance.objects.select_related("series__study")
        known = instances.filter(sop_instance_uid=found.sop_instance_uid).first()
    if known is None:
        return None
    try:
        with local_path(known.object_key) as stored:
            is_same = is_same_instance(stored, spooled.path)
    except InvalidInputError:
        is_same = False
    except ObjectLostError:
        with tenant_tx(tenant_id):
            is_restored = replace_lost_object(instance=known, spooled=spooled, found=found, by=by)
        return (known.series.study_id, True) if is_restored else None
    return (known.series.study_id, False) if is_same else None
