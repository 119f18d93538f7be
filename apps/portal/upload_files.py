"""Ingests uploaded files one by one, each with its own outcome."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, replace

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.audit.services import Actor
from apps.core.errors import ChecxrayError, InvalidInputError, OutOfSpaceError, TooLargeError, UnavailableError
from apps.ingest.intake import InspectedFile, ingest_instance, inspect_file
from apps.ingest.secondary_capture import wrap_picture
from apps.studies.archives import is_archive, read_archive
from apps.studies.services import StoredInstance
from apps.studies.spool import Spool, SpooledFile
from apps.studies.uploads import ReceivedFile
from apps.tenants.models import Tenant

FIELD = "files"
PICTURES = ("png", "jpeg")
FRONTAL_NOT_CONFIRMED = "frontal-not-confirmed"
PATIENT_MISSING = "patient-missing"
NEEDS_DETAILS = (FRONTAL_NOT_CONFIRMED, PATIENT_MISSING)
"""The refusals that end as soon as the user adds the details of a picture."""


@dataclass(frozen=True)
class UploadOutcome:
    """The outcome of one file.

    ``outcome`` is stored, known, refused, or failed: the storage did not take it now, and the same may be sent again.
    """

    name: str
    outcome: str
    code: str = ""
    detail: str = ""
    study_url: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the same bytes may have another outcome when they are tried again."""
        return self.outcome == "failed" or self.code in NEEDS_DETAILS


@dataclass(frozen=True)
class PictureDetails:
    """The patient details of a PNG or JPEG, which has no DICOM attributes."""

    is_frontal: bool = False
    patient_unknown: bool = False
    patient_id: str = ""
    patient_name: str = ""
    study_date: datetime.date | None = None

    @property
    def names_patient(self) -> bool:
        return bool(self.patient_id and self.patient_name)


@dataclass(frozen=True)
class UploadIngest:
    """Ingests files for one tenant. No transaction is open while the bytes are checked."""

    tenant: Tenant
    by: Actor
    spool: Spool
    pictures: PictureDetails

    def ingest(self, received: ReceivedFile) -> Iterator[UploadOutcome]:
        """The outcome of a file, or of each file of an archive."""
        if not is_archive(received.spooled.path):
            yield self._ingest_one(received.name, received.spooled)
            return
        taken = 0
        outage: UploadOutcome | None = None
        try:
            for member in read_archive(received.spooled.path, self.spool):
                taken += 1
                if member.spooled is None:
                    assert member.error is not None
                    yield _refused(member.name, member.error)
                    continue
                if outage is not None:
                    # Each further attempt would only wait for the same storage.
                    yield replace(outage, name=member.name)
                    continue
                outcome = self._ingest_one(member.name, member.spooled)
                outage = outcome if outcome.outcome == "failed" else None
                yield outcome
        except ChecxrayError as error:
            yield _refused(received.name, error)
            return
        if not taken:
            yield _refused(received.name, InvalidInputError(_("The ZIP contains no files."), "archive-empty"))

    def _ingest_one(self, name: str, spooled: SpooledFile) -> UploadOutcome:
        try:
            inspected = self._inspect(spooled)
            stored = ingest_instance(inspected, tenant_id=self.tenant.id, by=self.by, source="portal")
            url = reverse("portal:study", args=[stored.study_id])
        except ChecxrayError as error:
            return _refused(name, error)
        except OSError:
            # The spool's own disk: the file cannot be read now.
            return _refused(name, UnavailableError(_("The server could not read the file; try again later.")))
        return UploadOutcome(name, "stored" if stored.is_new else "known", detail=_warning_of(stored), study_url=url)

    def _inspect(self, spooled: SpooledFile) -> InspectedFile:
        if spooled.size > settings.MAX_INSTANCE_BYTES:
            limit = settings.MAX_INSTANCE_BYTES // 2**20
            raise TooLargeError(_("One film may have %(limit)d MiB at most.") % {"limit": limit}, "instance-too-large")
        inspected = inspect_file(spooled)
        if inspected.found.kind not in PICTURES:
            return inspected
        if not self.pictures.is_frontal:
            raise InvalidInputError(
                _("A PNG or JPEG has no DICOM attributes: confirm that it is a frontal chest radiograph."),
                FRONTAL_NOT_CONFIRMED,
            )
        if not self.pictures.names_patient and not self.pictures.patient_unknown:
            raise InvalidInputError(
                _("A PNG or JPEG has no patient data: enter patient ID and name, or say that the patient is unknown."),
                PATIENT_MISSING,
            )
        return inspect_file(wrap_picture(
            spooled=spooled,
            spool=self.spool,
            tenant=self.tenant,
            patient_id=self.pictures.patient_id,
            patient_name=self.pictures.patient_name,
            study_date=f"{self.pictures.study_date:%Y%m%d}" if self.pictures.study_date else "",
        ))  # fmt: skip


def _warning_of(stored: StoredInstance) -> str:
    if stored.is_withdrawn:
        return _("The study was withdrawn, so the film is stored and not read. Its page shows the reason.")
    if stored.is_stored_only:
        return _("A rule of your hospital stores this film without having it read.")
    if stored.in_conflict:
        return _("Name, birth date, sex or ID contradict what is stored of this patient: settle it on the study page.")
    return ""


def _refused(name: str, error: ChecxrayError) -> UploadOutcome:
    outcome = "failed" if isinstance(error, OutOfSpaceError | UnavailableError) else "refused"
    return UploadOutcome(name, outcome, error.code, error.detail)
