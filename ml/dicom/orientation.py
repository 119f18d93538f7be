"""Turn an image to the usual display of a frontal chest radiograph, by Patient Orientation (PS3.3 C.7.6.1.1.1).

In the usual display the patient's right is on the left of the picture and the head at the top: rows run towards the
patient's left, columns towards the feet (L\\F). Class activation maps, zones and reports assume it.
"""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ml.dicom.image_warnings import ImageWarning, image_warning


@dataclass(frozen=True, slots=True)
class Turn:
    """How a stored image becomes the usual display: first transposed, then mirrored along either axis."""

    transpose: bool = False
    flip_columns: bool = False
    flip_rows: bool = False

    def apply(self, image: NDArray[Any]) -> NDArray[Any]:
        """The turned view of an image (rows, columns, ...)."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the turned image."""
        return (columns, rows) if self.transpose else (rows, columns)

    def stored_place(self, across: float, down: float) -> tuple[float, float]:
        """Where a place of the turned image lies in the stored one; both as shares of the sides, from the left top."""
        across = 1.0 - across if self.flip_columns else across
        down = 1.0 - down if self.flip_rows else down
        return (down, across) if self.transpose else (across, down)


UPRIGHT = Turn()
_DONE = {
    Turn(flip_columns=True): "mirrored left to right",
    Turn(flip_rows=True): "flipped upside down",
    Turn(flip_columns=True, flip_rows=True): "rotated by 180 degrees",
    Turn(transpose=True): "rotated by 90 degrees and mirrored",
    Turn(transpose=True, flip_columns=True): "rotated by 90 degrees clockwise",
    Turn(transpose=True, flip_rows=True): "rotated by 90 degrees counterclockwise",
    Turn(transpose=True, flip_columns=True, flip_rows=True): "rotated by 90 degrees and mirrored",
}
_LETTERS = frozenset("APRLHF")
_AXES = {"R": "across", "L": "across", "H": "down", "F": "down"}


def read_orientation(patient_orientation: str, view_position: str = "") -> tuple[Turn, ImageWarning | None]:
    r"""Find the turn that gives the usual display.

    Only the eight pairs of one of R, L and one of H, F are corrected. Values of several letters ("LF") are oblique;
    they are not corrected, because the right correction is unknown. An absent value counts as the usual display. A and
    P are correct in a lateral view and give no warning there.

    Args:
        patient_orientation: Patient Orientation (0020,0020) as text, for example "R\F": the patient's directions along
            a row and along a column.
        view_position: View Position (0018,5101).
    """
    values = [value.strip(" \0").upper() for value in patient_orientation.split("\\")]
    if not any(values):
        return UPRIGHT, None
    known = len(values) == 2 and all(value and set(value) <= _LETTERS for value in values)
    if known and any(value in ("A", "P") for value in values):
        is_lateral = bool(view_position.strip()) and view_position.strip().upper() not in ("PA", "AP")
        return UPRIGHT, None if is_lateral else image_warning("orientation-contradicts-view")
    axes = sorted(_AXES.get(value, "") for value in values)
    if axes != ["across", "down"]:
        return UPRIGHT, image_warning("orientation-unclear")
    row, column = values
    transpose = row in ("H", "F")
    across, down = (column, row) if transpose else (row, column)
    turn = Turn(transpose, flip_columns=across == "R", flip_rows=down == "H")
    if turn == UPRIGHT:
        return turn, None
    detail = (
        f"The image is stored with Patient Orientation {row}\\{column} and was {_DONE[turn]} for reading and display, "
        "so that the patient's right is on the left of the picture. Heatmaps and zones follow."
    )
    return turn, image_warning("orientation-corrected", detail)
