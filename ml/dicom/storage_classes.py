"""The SOP classes that are accepted for storage (PS3.4 annex B.5): images, and other objects of a chest study."""

from types import MappingProxyType
from typing import Final

_STORAGE = "1.2.840.10008.5.1.4.1.1"

COMPUTED_RADIOGRAPHY: Final = f"{_STORAGE}.1"
DX_FOR_PRESENTATION: Final = f"{_STORAGE}.1.1"
DX_FOR_PROCESSING: Final = f"{_STORAGE}.1.1.1"
SECONDARY_CAPTURE: Final = f"{_STORAGE}.7"
KEY_OBJECT_SELECTION: Final = f"{_STORAGE}.88.59"

PICTURE_IMPLEMENTATION_CLASS: Final = "2.25.329800735698586629295641978511506172918"
"""Implementation Class UID (0002,0012) of the captures that `ml.dicom.secondary_capture` makes from uploads."""

IMAGE_CLASSES: Final = MappingProxyType(
    {
        COMPUTED_RADIOGRAPHY: "Computed Radiography Image Storage",
        DX_FOR_PRESENTATION: "Digital X-Ray Image Storage - For Presentation",
        DX_FOR_PROCESSING: "Digital X-Ray Image Storage - For Processing",
        SECONDARY_CAPTURE: "Secondary Capture Image Storage",
        f"{_STORAGE}.7.1": "Multi-frame Single Bit Secondary Capture Image Storage",
        f"{_STORAGE}.7.2": "Multi-frame Grayscale Byte Secondary Capture Image Storage",
        f"{_STORAGE}.7.3": "Multi-frame Grayscale Word Secondary Capture Image Storage",
        f"{_STORAGE}.7.4": "Multi-frame True Color Secondary Capture Image Storage",
    }
)
"""Image classes, whose pixels are checked. The single-bit class is listed, but its pixels are then refused."""

OTHER_CLASSES: Final = MappingProxyType(
    {
        f"{_STORAGE}.88.11": "Basic Text SR Storage",
        f"{_STORAGE}.88.22": "Enhanced SR Storage",
        f"{_STORAGE}.88.33": "Comprehensive SR Storage",
        f"{_STORAGE}.88.34": "Comprehensive 3D SR Storage",
        f"{_STORAGE}.88.35": "Extensible SR Storage",
        f"{_STORAGE}.88.40": "Procedure Log Storage",
        f"{_STORAGE}.88.50": "Mammography CAD SR Storage",
        KEY_OBJECT_SELECTION: "Key Object Selection Document Storage",
        f"{_STORAGE}.88.65": "Chest CAD SR Storage",
        f"{_STORAGE}.88.67": "X-Ray Radiation Dose SR Storage",
        f"{_STORAGE}.88.71": "Acquisition Context SR Storage",
        f"{_STORAGE}.88.73": "Patient Radiation Dose SR Storage",
        f"{_STORAGE}.88.76": "Enhanced X-Ray Radiation Dose SR Storage",
        f"{_STORAGE}.11.1": "Grayscale Softcopy Presentation State Storage",
        f"{_STORAGE}.11.2": "Color Softcopy Presentation State Storage",
        f"{_STORAGE}.11.3": "Pseudo-Color Softcopy Presentation State Storage",
        f"{_STORAGE}.11.4": "Blending Softcopy Presentation State Storage",
        f"{_STORAGE}.66.4": "Segmentation Storage",
        f"{_STORAGE}.104.1": "Encapsulated PDF Storage",
        f"{_STORAGE}.104.2": "Encapsulated CDA Storage",
    }
)
"""Classes that are stored with their study and never decoded."""

SOP_CLASSES: Final = MappingProxyType({**IMAGE_CLASSES, **OTHER_CLASSES})
