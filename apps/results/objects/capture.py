"""The result as a Secondary Capture: the image, the map and outlines where they may be shown, and a legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from pydicom.dataset import Dataset

from apps.results.objects.codes import SOURCE_IMAGE
from apps.results.objects.content import CalledFinding, ObjectIdentity, ResultContent
from apps.results.objects.identity import add_common, item, long_string, references

SIDE: Final = 1024
"""The longest side of the shown image, in pixels."""
SERIES_NUMBER: Final = 9001
DESCRIPTION: Final = "AI result, secondary capture"
MOST_OUTLINES: Final = 4

_NARROWEST = 720
_TEXT = 18
_LINE = 26
_MARGIN = 14
_BACKGROUND, _WHITE, _GREY = (0, 0, 0), (255, 255, 255), (178, 178, 178)
_COLOURS = ((255, 210, 77), (77, 208, 255), (255, 128, 200), (150, 255, 120))
NOT_A_LESION: Final = "Outlines show where the model looked. They are no outlines of lesions."


@dataclass(frozen=True, eq=False)
class Outline:
    """Where the map of a finding is strongest: bool (rows, columns) of any raster over the displayed image."""

    label: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Picture:
    """What is drawn.

    Attributes:
        grey: the image as it is displayed, at most `SIDE` pixels long.
        overlay: uint8 (rows, columns, 4), the map of the first flagged finding in the size of ``grey``; None: none.
        outlines: of flagged findings whose maps are validated as a localisation.
        has_known_sides: whether the patient's right is on the left of the picture.
    """

    grey: Image.Image
    overlay: NDArray[np.uint8] | None
    outlines: Sequence[Outline]
    has_known_sides: bool


def build_secondary_capture(content: ResultContent, identity: ObjectIdentity, picture: Picture) -> Dataset:
    """Build the capture of a reading, which must have read an image."""
    assert content.source is not None
    dataset: Dataset = SCImage(
        pixel_array=np.asarray(draw(content, picture)),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=content.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=identity.sop_instance_uid,
        instance_number=identity.number,
        manufacturer=content.manufacturer,
    )
    if not picture.has_known_sides:
        dataset.PatientOrientation = ""
    add_common(dataset, content, identity, DESCRIPTION)
    dataset.DateOfSecondaryCapture = f"{content.changed_at:%Y%m%d}"
    dataset.TimeOfSecondaryCapture = f"{content.changed_at:%H%M%S}"
    dataset.ConversionType = "WSD"
    dataset.BodyPartExamined = "CHEST"
    dataset.BurnedInAnnotation = "YES"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.DerivationDescription = (
        f"Result of {content.algorithm.name} {content.algorithm.version}, drawn on the image"
    )
    if content.notice:
        dataset.ImageComments = content.notice
    (source,) = references(content.source)
    source.PurposeOfReferenceCodeSequence = [item(SOURCE_IMAGE)]
    source.SpatialLocationsPreserved = "NO"
    dataset.SourceImageSequence = [source]
    return dataset


def draw(content: ResultContent, picture: Picture) -> Image.Image:
    """The image with its overlay above the legend, as RGB."""
    film = _with_outlines(_with_overlay(picture), picture)
    lines = _legend(content, picture)
    rows = (len(content.findings) + 1) // 2
    width = max(film.width, _NARROWEST)
    height = film.height + 2 * _MARGIN + _LINE * (len(lines) + rows)
    canvas = Image.new("RGB", (width, height), _BACKGROUND)
    canvas.paste(film, ((width - film.width) // 2, 0))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_TEXT)
    top = film.height + _MARGIN
    for text, colour in lines:
        pen.text((_MARGIN, top), text, font=font, fill=colour)
        top += _LINE
    colours = {outline.label: colour for outline, colour in zip(picture.outlines, _COLOURS, strict=False)}
    for place, finding in enumerate(content.findings):
        left = _MARGIN + (width // 2) * (place // rows)
        _draw_finding(pen, font, (left, top + _LINE * (place % rows)), finding, colours.get(finding.label))
    return canvas


def _with_overlay(picture: Picture) -> Image.Image:
    film = picture.grey.convert("RGB")
    if picture.overlay is not None:
        film.paste(Image.fromarray(picture.overlay[..., :3]), (0, 0), Image.fromarray(picture.overlay[..., 3]))
    return film


def _with_outlines(film: Image.Image, picture: Picture) -> Image.Image:
    for outline, colour in zip(picture.outlines[:MOST_OUTLINES], _COLOURS, strict=False):
        # Enlarged smoothly, because the map is coarse, to half the size; an erosion takes the outline away.
        half = (max(1, film.width // 2), max(1, film.height // 2))
        grown = Image.fromarray(outline.mask.astype(np.uint8) * 255).resize(half, Image.Resampling.BICUBIC)
        region = grown.point([0] * 128 + [255] * 128)
        edge = ImageChops.subtract(region, region.filter(ImageFilter.MinFilter(3)))
        film.paste(colour, (0, 0, *film.size), edge.resize(film.size, Image.Resampling.NEAREST))
    return film


def _legend(content: ResultContent, picture: Picture) -> list[tuple[str, tuple[int, int, int]]]:
    lines = [(content.notice, _COLOURS[0])] if content.notice else []
    algorithm = content.algorithm
    lines.append((f"AI result of {algorithm.name} {algorithm.version}, {content.at:%Y-%m-%d %H:%M %Z}", _WHITE))
    lines.append((_shown(content, picture), _GREY))
    if content.probability_any is not None and content.threshold_any is not None:
        side = "at or above" if content.probability_any >= content.threshold_any else "below"
        text = f"Any finding: {percent(content.probability_any)}, {side} the operating point of "
        scale = " (not recalibrated)" if content.is_recalibrated else ""
        lines.append((text + f"{percent(content.threshold_any)}{scale}.", _WHITE))
    return lines


def _shown(content: ResultContent, picture: Picture) -> str:
    if picture.outlines:
        return NOT_A_LESION
    if content.positives:
        return "No place is shown: it was not measured that these maps show where the findings are."
    return "No finding is at or above its operating point."


def _draw_finding(
    pen: Any, font: Any, at: tuple[int, int], finding: CalledFinding, colour: tuple[int, int, int] | None
) -> None:
    left, top = at
    if colour is not None:
        pen.rectangle((left, top + 3, left + 14, top + 17), outline=colour, width=3)
    strong = _WHITE if finding.positive or finding.uncertain else _GREY
    pen.text((left + 24, top), f"{readable(finding.label)} {percent(finding.probability)}", font=font, fill=strong)
    pen.text((left + 230, top), called(finding), font=font, fill=strong)


def called(finding: CalledFinding) -> str:
    """The AI's call with the operating point, as the picture says it."""
    if finding.threshold is None:
        return "no operating point"
    result = "flagged" if finding.positive else "below"
    return f"{'uncertain, ' if finding.uncertain else ''}{result} ({percent(finding.threshold)})"


def readable(label: str) -> str:
    """The name of a finding for people: a label without underscores."""
    return long_string(label.replace("_", " ")).capitalize()


def percent(value: float) -> str:
    """With one decimal; never rounded to 0 or 100."""
    return "<0.1 %" if value < 0.0005 else ">99.9 %" if value > 0.9995 else f"{value * 100:.1f} %"
