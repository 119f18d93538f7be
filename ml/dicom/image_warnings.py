"""Warnings about an image that is read in spite of a defect, with stable codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ImageWarning:
    """A warning.

    `code` is a key of `CODES` and never changes its meaning. `detail` is a sentence for the user. It contains no text
    of the file except terms that the standard defines.
    """

    code: str
    detail: str


CODES: Mapping[str, str] = MappingProxyType(
    {
        # The encoding.
        "high-bit-absent": "High Bit is absent; it was taken as Bits Stored - 1.",
        "trailing-bytes": "The file has bytes after its last element, which were ignored.",
        "precision-differs": "The precision of the compressed image differs from Bits Stored.",
        "sign-differs": "The sign of the compressed image differs from Pixel Representation.",
        "file-meta-differs": "The File Meta Information does not name this SOP Class or SOP Instance.",
        "character-set-unknown": "The Specific Character Set has an unknown term; letters may be wrong.",
        "character-set-broken": "Some text does not fit the declared character set; letters may be wrong.",
        "text-shortened": "Some text is longer than the standard allows and was shortened.",
        "bits-stored-exceeded": "Pixels use more bits than Bits Stored says. The extra bits were ignored, as PS3.5 "
        "section 8.1.1 has it: check the picture.",
        # Grey levels.
        "window-invalid": "The window has no usable centre and width. The grey scale was taken from the image itself.",
        "window-without-contrast": "The window lies outside the image's grey levels and would leave no contrast. It "
        "was ignored.",
        "voi-lut-invalid": "The VOI LUT is damaged and was ignored.",
        "voi-function-unknown": "The VOI LUT Function is unknown; it was taken as LINEAR.",
        "polarity-contradiction": "Photometric Interpretation and Presentation LUT Shape contradict each other (PS3.3 "
        "C.11.6). The image is shown and read as its Photometric Interpretation says: check that bone is bright.",
        "intensity-sign-contradiction": "Pixel Intensity Relationship Sign contradicts Photometric Interpretation. The "
        "image is shown and read as its Photometric Interpretation says: check that bone is bright.",
        "polarity-suspect": "The picture looks like a negative (lungs brighter than the spine): check that bone is "
        "bright. It was not changed.",
        # Geometry.
        "orientation-corrected": "The image is not stored in the usual orientation of a frontal view and was turned.",
        "orientation-unclear": "Patient Orientation can't be understood. The image was not turned: check which side is "
        "the patient's right.",
        "orientation-contradicts-view": "Patient Orientation does not fit a frontal view. The image was not turned: "
        "check the view, and which side is the patient's right.",
        "shutter-invalid": "A display shutter can't be understood, or would hide the whole image. It was ignored.",
        "pixel-aspect-invalid": "The pixel's proportions can't be understood. The pixels were taken as square.",
        "pixel-aspect-contradiction": "Pixel Aspect Ratio contradicts the pixel spacing, which was used.",
        "thorax-not-found": "The outline of the thorax was not found in the picture, so heatmaps are hidden only "
        "outside the body.",
        # The object's description of itself.
        "modality-contradicts-sop-class": "Modality does not fit the SOP class.",
        "age-outside-validated-range": "The patient's age is outside the range that the version was validated on.",
    }
)


def image_warning(code: str, detail: str = "") -> ImageWarning:
    """Make a warning, with the sentence of `CODES` or with a more exact one."""
    return ImageWarning(code, detail or CODES[code])
