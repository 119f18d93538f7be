"""WADO-RS: pictures of instances and frames, and thumbnails (PS3.18 10.4.1.1.3 and 10.4.1.1.4)."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import Final

from django.http import HttpResponse, HttpResponseBase
from PIL import Image
from rest_framework.request import Request

from apps.core.errors import InvalidInputError, NotAcceptableError, NotFoundError
from apps.dicomweb.answers import MultipartBody, not_modified, private, streamed
from apps.dicomweb.base import DicomwebView
from apps.dicomweb.media_types import MediaRange, Offer, accepted_ranges, require
from apps.dicomweb.render_options import RenderOptions, read_options
from apps.dicomweb.retrieve_views import RetrieveMixin, frame_numbers
from apps.inference.objects import render
from apps.studies.models import Instance

_RENDER_VERSION: Final = 1
"""Increased when the same request gives another picture."""
_FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF"}


class RenderedView(RetrieveMixin, DicomwebView):
    """A picture of an instance or a frame; multipart/related of all images of a study or series, or of frames."""

    is_thumbnail = False

    def get(
        self,
        request: Request,
        study: str,
        series: str | None = None,
        instance: str | None = None,
        frames: str | None = None,
    ) -> HttpResponseBase:
        numbers = [1] if frames is None else frame_numbers(frames)
        options = read_options(request.query_params, is_thumbnail=self.is_thumbnail)
        ranges = accepted_ranges(request)
        found = [each for each in self.find(study, series, instance) if each.is_image]
        if not found:
            raise NotAcceptableError("There is no image here: retrieve the objects as application/dicom.")
        if self.is_thumbnail:
            found, numbers = found[:1], numbers[:1]
        is_one = (self.is_thumbnail or instance is not None) and len(numbers) == 1
        return (
            self._one(request, found[0], numbers[0], options, ranges)
            if is_one
            else self._several(found, numbers, options, ranges)
        )

    def _one(
        self, request: Request, found: Instance, number: int, options: RenderOptions, ranges: Sequence[MediaRange]
    ) -> HttpResponseBase:
        chosen = require(ranges, [Offer(media_type, is_multipart=False) for media_type in _FORMATS])
        made_of = f"{_RENDER_VERSION}-{found.sha256}-{number}-{chosen.media_type}-{options.key}"
        etag = f'"{hashlib.sha256(made_of.encode()).hexdigest()}"'
        unchanged = not_modified(request, etag)
        if unchanged is not None:
            return unchanged
        response = HttpResponse(_picture(found, number, options, chosen), content_type=chosen.media_type)
        response["ETag"] = etag
        response["Content-Location"] = request.build_absolute_uri()
        return _warned(private(response), options)

    def _several(
        self, found: Sequence[Instance], numbers: Sequence[int], options: RenderOptions, ranges: Sequence[MediaRange]
    ) -> HttpResponseBase:
        chosen = require(ranges, [Offer(media_type, is_multipart=True) for media_type in _FORMATS])
        body = MultipartBody(chosen.media_type)
        return _warned(streamed(self._parts(body, found, numbers, options, chosen), body.content_type), options)

    def _parts(
        self,
        body: MultipartBody,
        found: Sequence[Instance],
        numbers: Sequence[int],
        options: RenderOptions,
        chosen: Offer,
    ) -> Iterator[bytes]:
        for each in found:
            for number in numbers:
                picture = _picture(each, number, options, chosen)
                yield body.begin(chosen.media_type, f"{self.address(each)}/frames/{number}/rendered")
                yield picture
                yield b"\r\n"
        yield body.end()


def _picture(found: Instance, number: int, options: RenderOptions, chosen: Offer) -> bytes:
    try:
        pixels = render(found, number, options.window, options.viewport)
    except InvalidInputError as error:
        if error.code == "pixel-data-missing":
            raise NotFoundError("This image has no such frame.", "frame-not-found") from error
        raise NotAcceptableError(
            f"This image cannot be rendered ({error.detail}) Retrieve it as application/dicom.", error.code
        ) from error
    # Encoded here and not in the child process, so that no decoder has to trust bytes of the child.
    target = io.BytesIO()
    kind = _FORMATS[chosen.media_type]
    Image.fromarray(pixels).save(target, kind, **({"quality": options.quality} if kind == "JPEG" else {}))
    return target.getvalue()


def _warned(response: HttpResponseBase, options: RenderOptions) -> HttpResponseBase:
    if options.warnings:
        response["Warning"] = ", ".join(f'299 checxray "{text}"' for text in options.warnings)
    return response


class ThumbnailView(RenderedView):
    """A small picture of the first image of a study, series or instance, or of one frame."""

    is_thumbnail = True
