"""WADO-RS: studies, series and instances as DICOM files, their metadata, frames and bulk data (PS3.18 10.4)."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Final

from django.http import HttpResponseBase
from pydicom.uid import EncapsulatedPDFStorage
from rest_framework.request import Request

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, operation_of, record
from apps.core.errors import InvalidInputError, NotFoundError
from apps.dicomweb.addresses import instance_address
from apps.dicomweb.answers import (
    MultipartBody,
    file_blocks,
    file_response,
    not_modified,
    streamed,
)
from apps.dicomweb.base import DicomwebView, require_uid
from apps.dicomweb.media_types import (
    DICOM_JSON,
    JSON,
    OCTET_STREAM,
    MediaRange,
    Offer,
    accepted_ranges,
    not_acceptable,
    require,
)
from apps.dicomweb.representations import (
    OpenedFrames,
    choose_frames,
    dicom_offers,
    frame_offers,
    opened_frames,
    opened_instance,
)
from apps.inference.objects import MOST_JSON_BYTES, bulkdata, metadata
from apps.registry import engine
from apps.studies.models import Instance
from apps.studies.selectors import get_study, visible_instances
from apps.studies.spool import Spool, open_spool
from apps.studies.storage import require_objects
from apps.tenants.scope import tenant_tx

_METADATA_VERSION: Final = 1
_METADATA_OFFERS: Final = (Offer(DICOM_JSON, is_multipart=False), Offer(JSON, is_multipart=False))
_PIXEL_DATA: Final = "7FE00010"
_ENCAPSULATED_DOCUMENT: Final = "00420011"
_FRAMES = re.compile(r"[1-9][0-9]{0,4}(,[1-9][0-9]{0,4}){0,999}")
_BULK_PATH = re.compile(r"([0-9A-Fa-f]{8}/[1-9][0-9]{0,4}/){0,15}[0-9A-Fa-f]{8}")


class RetrieveMixin:
    """How a view finds what its address names; the class beside it is a `DicomwebView`."""

    def find(self: Any, study: str, series: str | None = None, instance: str | None = None) -> list[Instance]:
        """The instances that the address names and the caller may get, oldest first, with an entry in the audit trail.

        Raises:
            NotFoundError, WithdrawnError, InvalidInputError
            ObjectLostError, UnavailableError: an object is not in the storage, so no answer is begun.
        """
        for name, uid in (("StudyInstanceUID", study), ("SeriesInstanceUID", series), ("SOPInstanceUID", instance)):
            require_uid(uid, name)
        with tenant_tx(self.tenant_request.tenant.pk):
            found = visible_instances(with_results=self.with_results).filter(series__study__study_instance_uid=study)
            if series is not None:
                found = found.filter(series__series_instance_uid=series)
            if instance is not None:
                found = found.filter(sop_instance_uid=instance)
            instances = list(found.select_related("series__study").order_by("pk"))
            if not instances:
                # Names the reason where the whole study is unknown or withdrawn.
                get_study(study)
                what = "instance" if instance else "series" if series else "instance of this study"
                raise NotFoundError(f"There is no such {what} here.", f"{what.split()[0]}-not-found")
            record(
                action=AuditEvent.Action.INSTANCES_RETRIEVED,
                by=actor_of(self.tenant_request),
                object_id=instances[0].series.study_id,
                operation=operation_of(self.tenant_request),
                amount=len(instances),
            )
        require_objects((each.object_key, each.size) for each in instances)
        return instances

    def address(self: Any, instance: Instance) -> str:
        return str(self.request.build_absolute_uri(f"/dicom-web{instance_address(instance)}"))


class RetrieveView(RetrieveMixin, DicomwebView):
    """A study, a series or an instance as DICOM files."""

    def get(
        self, request: Request, study: str, series: str | None = None, instance: str | None = None
    ) -> HttpResponseBase:
        ranges = accepted_ranges(request)
        found = self.find(study, series, instance)
        if instance is not None:
            both = [*dicom_offers(found[0], is_multipart=True), *dicom_offers(found[0], is_multipart=False)]
            if not require(ranges, both).is_multipart:
                with opened_instance(found[0], ranges, is_multipart=False) as file:
                    return not_modified(request, file.etag) or file_response(
                        request,
                        file.path,
                        content_type=file.content_type,
                        etag=file.etag,
                        location=self.address(found[0]),
                    )
        for each in found:
            require(ranges, dicom_offers(each, is_multipart=True))
        body = MultipartBody("application/dicom")
        return streamed(self._parts(body, found, ranges), body.content_type)

    def _parts(self, body: MultipartBody, found: Sequence[Instance], ranges: Sequence[MediaRange]) -> Iterator[bytes]:
        for each in found:
            with opened_instance(each, ranges, is_multipart=True) as file:
                yield body.begin(file.content_type, self.address(each))
                yield from file_blocks(file.path)
                yield b"\r\n"
        yield body.end()


class MetadataView(RetrieveMixin, DicomwebView):
    """The attributes of all instances as DICOM JSON, with addresses instead of bulk data."""

    def get(
        self, request: Request, study: str, series: str | None = None, instance: str | None = None
    ) -> HttpResponseBase:
        chosen = require(accepted_ranges(request), _METADATA_OFFERS)
        found = self.find(study, series, instance)
        base = request.build_absolute_uri("/")
        versions = "".join(f"{each.sop_instance_uid}{each.sha256}" for each in found)
        etag = f'"{hashlib.sha256(f"{_METADATA_VERSION}{base}{versions}".encode()).hexdigest()}"'
        unchanged = not_modified(request, etag)
        if unchanged is not None:
            return unchanged
        with open_spool(durable=False) as spool:
            return file_response(
                request,
                self._written(found, spool),
                content_type=chosen.media_type,
                etag=etag,
                location=request.build_absolute_uri(),
            )

    def _written(self, found: Sequence[Instance], spool: Spool) -> Path:
        """The JSON of all instances as a file: a study has any number of them, and one is in memory at a time."""
        writer = spool.open(len(found) * (MOST_JSON_BYTES + 1) + 1)
        try:
            for number, each in enumerate(found):
                writer.write(b"," if number else b"[")
                writer.write(metadata(each, self.address(each)))
            writer.write(b"]")
            return writer.close().path
        finally:
            writer.abandon()


class FramesView(RetrieveMixin, DicomwebView):
    """Frames of an image, as they are stored or decoded."""

    def get(self, request: Request, study: str, series: str, instance: str, frames: str) -> HttpResponseBase:
        numbers = frame_numbers(frames)
        ranges = accepted_ranges(request)
        (found,) = self.find(study, series, instance)
        chosen = choose_frames(found, ranges, may_be_single=len(numbers) == 1)
        return self.answer(request, found, chosen, numbers)

    def answer(
        self, request: Request, found: Instance, chosen: Offer, numbers: Sequence[int] | None
    ) -> HttpResponseBase:
        """These frames; without numbers the pixel data as bulk data."""
        with ExitStack() as files:
            file = files.enter_context(opened_frames(found, chosen))
            count = len(file.frames)
            if numbers is not None and max(numbers) > count:
                raise NotFoundError(f"This image has {count} frames.", "frame-not-found")
            parts = self._parts(found, file, chosen, numbers)
            if chosen.is_multipart:
                body = MultipartBody(chosen.media_type)
                return streamed(_pieces(body, file, parts), body.content_type, files.pop_all())
            if len(parts) > 1:
                raise not_acceptable(frame_offers(found, is_multipart=True))
            etag = f'"{file.etag}-{"all" if numbers is None else ",".join(map(str, numbers))}"'
            unchanged = not_modified(request, etag)
            if unchanged is not None:
                return unchanged
            ((_, places),) = parts
            response = streamed(file_blocks(file.path, places), file.content_type, files.pop_all())
        response["ETag"] = etag
        return response

    def _parts(
        self, found: Instance, file: OpenedFrames, chosen: Offer, numbers: Sequence[int] | None
    ) -> list[tuple[str, Sequence[tuple[int, int]]]]:
        """The address of each part, and its places in the file."""
        address = self.address(found)
        if numbers is None:
            address += f"/bulkdata/{_PIXEL_DATA}"
            if chosen.transfer_syntax in engine.NATIVE:
                # One value, as in the file. Compressed frames are a part each (PS3.18 8.7.3.3.2).
                return [(address, [*chain.from_iterable(file.frames)])]
            numbers = range(1, len(file.frames) + 1)
        return [(f"{address}/frames/{number}", file.frames[number - 1]) for number in numbers]


def _pieces(
    body: MultipartBody, file: OpenedFrames, parts: Sequence[tuple[str, Sequence[tuple[int, int]]]]
) -> Iterator[bytes]:
    for location, places in parts:
        yield body.begin(file.content_type, location)
        yield from file_blocks(file.path, places)
        yield b"\r\n"
    yield body.end()


class BulkdataView(FramesView):
    """One value that the metadata left out."""

    def get(self, request: Request, study: str, series: str, instance: str, path: str) -> HttpResponseBase:
        if not _BULK_PATH.fullmatch(path):
            raise InvalidInputError("The address of the bulk data is not valid.", "bulkdata-invalid")
        ranges = accepted_ranges(request)
        (found,) = self.find(study, series, instance)
        path = path.upper()
        if path == _PIXEL_DATA and found.is_image:
            return self.answer(request, found, choose_frames(found, ranges, may_be_single=True), None)
        media_types = [OCTET_STREAM]
        if path == _ENCAPSULATED_DOCUMENT and found.sop_class_uid == EncapsulatedPDFStorage:
            media_types.append("application/pdf")
        chosen = require(ranges, [Offer(each, is_multipart) for each in media_types for is_multipart in (True, False)])
        location = f"{self.address(found)}/bulkdata/{path}"
        with ExitStack() as files:
            try:
                file = files.enter_context(bulkdata(found, path))
            except InvalidInputError:
                raise NotFoundError("This object has no such bulk data.", "bulkdata-not-found") from None
            if not chosen.is_multipart:
                etag = f'"{found.sha256}-{path}"'
                return not_modified(request, etag) or file_response(
                    request, file, content_type=chosen.media_type, etag=etag, location=location
                )
            body = MultipartBody(chosen.media_type)
            pieces = chain([body.begin(chosen.media_type, location)], file_blocks(file), [b"\r\n", body.end()])
            return streamed(pieces, body.content_type, files.pop_all())


def frame_numbers(text: str) -> list[int]:
    """The frames that an address names, from 1 on.

    Raises:
        InvalidInputError: the text is no list of numbers.
    """
    if not _FRAMES.fullmatch(text):
        raise InvalidInputError("Name frames by their numbers, such as frames/1 or frames/1,3.", "frames-invalid")
    return [int(number) for number in text.split(",")]
