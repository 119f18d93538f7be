"""Converts PNG and JPEG files to Secondary Capture instances; a sandboxed child process decodes them."""

from apps.core.errors import InvalidInputError, UnavailableError
from apps.inference.rendering import sandbox
from apps.registry import engine
from apps.studies.spool import Spool, SpooledFile
from apps.tenants.models import Tenant


def wrap_picture(
    *, spooled: SpooledFile, spool: Spool, tenant: Tenant, patient_id: str = "", patient_name: str = "",
    study_date: str = "",
) -> SpooledFile:  # fmt: skip
    """The picture as a DICOM file in the same spool; the same picture and patient give the same instance.

    Args:
        study_date: a DA value (YYYYMMDD), or empty.

    Raises:
        InvalidInputError: the picture cannot be read; ``code`` is one of ``ml.errors.CODES``.
        UnavailableError: no decoder could be started.
    """
    identity = engine.PictureIdentity(
        owner=str(tenant.id), patient_id=patient_id, patient_name=patient_name, study_date=study_date
    )
    target = spool.folder / f"{spooled.path.name}.dcm"
    try:
        sandbox().submit(engine.write_secondary_capture, spooled.path, engine.Writable(target), identity).result()
    except engine.InputRejected as error:
        kind = UnavailableError if error.code in engine.RETRYABLE else InvalidInputError
        raise kind(error.detail, error.code) from error
    return spool.adopt(target)
