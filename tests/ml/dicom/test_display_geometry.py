"""Tests of orientation, square pixels, display shutter, and warnings about contradictory attributes."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.dicom.consistency import looks_inverted
from ml.dicom.image_warnings import CODES
from ml.dicom.orientation import read_orientation
from ml.dicom.radiograph import Radiograph, read_radiograph
from ml.model.saliency import CamScale, zone
from ml.model.serving_input import fit_input, render_grey
from ml.model.transforms import Geometry, InputSpace, map_back
from tests.ml import samples

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
SPACE = InputSpace(64)
# PS3.3 C.7.6.1.1.1: a row runs towards the first value of Patient Orientation, a column towards the second.
STORED = {
    "L\\F": lambda upright: upright,
    "R\\F": lambda upright: upright[:, ::-1],
    "L\\H": lambda upright: upright[::-1],
    "R\\H": lambda upright: upright[::-1, ::-1],
    "F\\L": lambda upright: upright.T,
    "F\\R": lambda upright: upright[:, ::-1].T,
    "H\\L": lambda upright: upright[::-1].T,
    "H\\R": lambda upright: upright[::-1, ::-1].T,
}


def codes(picture: Any) -> list[str]:
    return [warning.code for warning in picture.warnings]


def read(pixels: NDArray[Any], **attributes: Any) -> Radiograph:
    return read_radiograph(samples.image_file(np.ascontiguousarray(pixels), **attributes))


@pytest.mark.parametrize("orientation", STORED)
def test_all_eight_orientations_give_one_picture(orientation: str) -> None:
    upright = read(samples.chest(), **WINDOW)
    stored = np.ascontiguousarray(STORED[orientation](samples.chest()))
    picture = read(stored, PatientOrientation=orientation, ViewPosition="PA", **WINDOW)
    assert np.array_equal(picture.pixels, upright.pixels)
    assert codes(picture) == ([] if orientation == "L\\F" else ["orientation-corrected"])
    assert all(orientation in warning.detail for warning in picture.warnings)
    fitted, expected = fit_input(picture, SPACE.to_dict()), fit_input(upright, SPACE.to_dict())
    assert np.array_equal(fitted.tensor_u8, expected.tensor_u8)
    assert (fitted.rows, fitted.columns) == (96, 80)
    shown = render_grey(samples.image_file(stored, PatientOrientation=orientation, **WINDOW), 1000)
    assert np.array_equal(shown, upright.pixels)


@pytest.mark.parametrize(
    ("orientation", "view", "code"),
    [
        ("", "PA", None),
        ("LF\\F", "PA", "orientation-unclear"),
        ("L\\FA", "AP", "orientation-unclear"),
        ("R\\L", "PA", "orientation-unclear"),
        ("H\\F", "PA", "orientation-unclear"),
        ("R", "PA", "orientation-unclear"),
        ("R\\F\\H", "PA", "orientation-unclear"),
        ("Q\\F", "PA", "orientation-unclear"),
        ("A\\F", "PA", "orientation-contradicts-view"),
        ("P\\F", "", "orientation-contradicts-view"),
        ("A\\F", "LL", None),
    ],
)
def test_an_unusable_orientation_turns_nothing(orientation: str, view: str, code: str | None) -> None:
    picture = read(samples.chest(), PatientOrientation=orientation, ViewPosition=view, **WINDOW)
    assert np.array_equal(picture.pixels, read(samples.chest(), **WINDOW).pixels)
    assert codes(picture) == ([] if code is None else [code])


def test_a_map_of_a_turned_image_lies_in_the_displayed_picture() -> None:
    dark = np.zeros((90, 60), np.uint16)
    dark[10:20, 40:50] = 4000  # on the right of the picture, above: the patient's left
    picture = read(dark[:, ::-1].T, PatientOrientation="F\\R", ViewPosition="AP", **WINDOW)
    fitted = fit_input(picture, SPACE.to_dict())
    grid = fitted.tensor_u8.reshape(8, 8, 8, 8).mean((1, 3))
    shown = map_back(grid, Geometry.of(fitted.rows, fitted.columns, SPACE))
    assert shown.shape == picture.pixels.shape == (90, 60)
    row, column = np.unravel_index(int(shown.argmax()), shown.shape)
    assert picture.pixels[row, column] > 200
    assert zone(grid, CamScale(0.0, 255.0)) == "patient's left, upper zone"


def test_a_mirrored_sample_is_decoded_like_the_original() -> None:
    folder = samples.data_folder() / "dicom" / "cases"
    mirrored, usual = (read_radiograph(folder / f"{name}.dcm") for name in ("d28_orientation_R_F", "h38_1_explicit"))
    assert codes(mirrored) == ["orientation-corrected"]
    assert codes(usual) == []
    assert np.array_equal(mirrored.pixels, usual.pixels)


def framed(level: int, **shutter: Any) -> Radiograph:
    """An image with a collimator of grey `level` around it, which the shutter hides."""
    pixels = samples.chest() // 4 + 500
    frame = np.full((136, 120), level, np.uint16)
    frame[20:116, 20:100] = pixels
    return read(frame, **shutter)


RECTANGLE = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": 21,
    "ShutterRightVerticalEdge": 100,
    "ShutterUpperHorizontalEdge": 21,
    "ShutterLowerHorizontalEdge": 116,
}
POLYGON = {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [21, 21, 21, 100, 116, 100, 116, 21]}


@pytest.mark.parametrize("shutter", [RECTANGLE, POLYGON])
@pytest.mark.parametrize("level", [0, 4095])
def test_hidden_pixels_are_black_and_left_out_of_statistics(shutter: dict[str, Any], level: int) -> None:
    picture, alone = framed(level, **shutter), read(samples.chest() // 4 + 500)
    assert np.abs(picture.pixels[20:116, 20:100].astype(int) - alone.pixels).max() <= 6
    hidden = np.ones(picture.pixels.shape, bool)
    hidden[20:116, 20:100] = False
    assert not picture.pixels[hidden].any()
    assert np.array_equal(picture.pixels, framed(2000, **shutter).pixels)
    assert not picture.warnings


def test_shutters_are_combined_and_have_a_grey_value() -> None:
    circle = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [68, 60], "RadiusOfCircularShutter": 30}
    picture = framed(4095, **circle, ShutterPresentationValue=0xFFFF)
    y, x = np.mgrid[1:137, 1:121]
    outside = (y - 68) ** 2 + (x - 60) ** 2 > 900
    assert (picture.pixels[outside] == 255).all()
    assert picture.pixels[~outside].min() < 30
    both = framed(
        4095, **{**RECTANGLE, **circle, "ShutterShape": "RECTANGULAR\\CIRCULAR", "ShutterRightVerticalEdge": 60}
    )
    assert not both.pixels[outside].any()
    assert not both.pixels[:, 60:].any()
    assert both.pixels[60:70, 40:60].any()


def test_a_shutter_follows_the_turn_and_the_square_pixels() -> None:
    """The shutter is a circle in the patient and not in pixels: its radius counts in pixels along a row."""
    wide = samples.chest(64, 128)
    circle = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [32, 64], "RadiusOfCircularShutter": 40}
    picture = read(wide, PixelAspectRatio=[2, 1], PatientOrientation="F\\L", **circle)
    assert picture.pixels.shape == (128, 128)
    y, x = np.mgrid[:128, :128]
    distance = np.hypot(y - 63.5, x - 63.5)
    assert not picture.pixels[distance > 43].any()
    assert (picture.pixels[distance < 37] > 0).mean() > 0.98


@pytest.mark.parametrize(
    "broken",
    [
        {"ShutterShape": "RECTANGULAR"},
        {**RECTANGLE, "ShutterLeftVerticalEdge": 110},
        {**RECTANGLE, "ShutterUpperHorizontalEdge": 2000, "ShutterLowerHorizontalEdge": 3000},
        {"ShutterShape": "BITMAP"},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [5], "RadiusOfCircularShutter": 9},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 5]},
    ],
)
def test_an_invalid_shutter_hides_nothing(broken: dict[str, Any]) -> None:
    picture = framed(300, **broken)
    assert codes(picture) == ["shutter-invalid"]
    assert np.array_equal(picture.pixels, framed(300).pixels)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"PixelAspectRatio": [2, 1]}, (192, 80)),
        ({"PixelAspectRatio": [1, 2]}, (96, 160)),
        ({"PixelSpacing": [0.2, 0.1]}, (192, 80)),
        ({"ImagerPixelSpacing": [0.1, 0.15]}, (96, 120)),
        ({"NominalScannedPixelSpacing": [0.3, 0.2]}, (144, 80)),
        ({"PixelSpacing": [0.143, 0.1431]}, (96, 80)),
        ({"PixelAspectRatio": [1, 1]}, (96, 80)),
    ],
)
def test_pixels_become_square(attributes: dict[str, Any], size: tuple[int, int]) -> None:
    picture = read(samples.chest(), **attributes, **WINDOW)
    assert picture.pixels.shape == size
    assert not picture.warnings
    # The network's square, to which both sides are stretched, stays nearly the same.
    square = read(samples.chest(), **WINDOW)
    both = [fit_input(each, InputSpace(48).to_dict()).tensor_u8.astype(int) for each in (picture, square)]
    assert np.abs(both[0] - both[1]).max() <= 12


@pytest.mark.parametrize(
    ("attributes", "code", "size"),
    [
        ({"PixelAspectRatio": [0, 1]}, "pixel-aspect-invalid", (96, 80)),
        ({"PixelAspectRatio": [1000, 1]}, "pixel-aspect-invalid", (96, 80)),
        ({"PixelSpacing": [0.2, 0.1], "PixelAspectRatio": [1, 2]}, "pixel-aspect-contradiction", (192, 80)),
    ],
)
def test_invalid_proportions_give_a_warning(attributes: dict[str, Any], code: str, size: Any) -> None:
    picture = read(samples.chest(), **attributes, **WINDOW)
    assert codes(picture) == [code]
    assert picture.pixels.shape == size


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PresentationLUTShape": "INVERSE"}, ["polarity-contradiction"]),
        ({"PresentationLUTShape": "IDENTITY"}, []),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}, ["polarity-contradiction"]),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, []),
        ({"PixelIntensityRelationshipSign": 1}, ["intensity-sign-contradiction"]),
        ({"PixelIntensityRelationshipSign": -1}, []),
        ({"PixelIntensityRelationshipSign": -1, "RescaleSlope": -1, "RescaleIntercept": 4095},
         ["intensity-sign-contradiction"]),
        ({"PhotometricInterpretation": "MONOCHROME1", "PixelIntensityRelationshipSign": 1}, []),
        ({"Modality": "CR"}, ["modality-contradicts-sop-class"]),
        ({"WindowCenter": 60000, "WindowWidth": 10}, ["window-without-contrast"]),
        ({"WindowWidth": 0}, ["window-invalid"]),
        ({"WindowWidth": ""}, ["window-invalid"]),
        ({"BitsStored": 11, "HighBit": 10}, ["bits-stored-exceeded"]),
    ],
)  # fmt: skip
def test_contradictions_are_warnings_and_the_photometric_interpretation_decides(
    attributes: dict[str, Any], expected: list[str]
) -> None:
    picture = read(samples.chest(), **{**WINDOW, **attributes})
    assert codes(picture) == expected
    if set(attributes) <= {"PresentationLUTShape", "PixelIntensityRelationshipSign", "Modality"}:
        assert np.array_equal(picture.pixels, read(samples.chest(), **WINDOW).pixels)


def test_an_inverted_image_is_noticed_and_a_normal_one_is_not() -> None:
    images = sorted((samples.data_folder() / "nih-sample" / "images").glob("*.png"))[::25]
    pictures = [read_radiograph(path).pixels for path in images]
    assert len(pictures) > 50
    assert not any(looks_inverted(picture) for picture in pictures)
    assert sum(looks_inverted(255 - picture) for picture in pictures) >= 0.9 * len(pictures)
    folder = samples.data_folder() / "dicom" / "cases"
    picture = fit_input(read_radiograph(folder / "h38_1_explicit.dcm"), SPACE.to_dict())
    assert not picture.warnings


def test_every_code_that_is_used_is_listed() -> None:
    assert read_orientation("R\\F")[1].code in CODES  # type: ignore[union-attr]
    assert all(detail.endswith(".") for detail in CODES.values())
