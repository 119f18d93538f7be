"""The template of `ml.model.thorax`: the mean of the films of a list, shrunk.

`python -m recipes.thorax_template --data DIR` writes it; a mean of hundreds of films shows no patient.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ml.data import find_table, read_list, read_table
from ml.dicom.radiograph import read_radiograph
from ml.model.thorax import SIDE, TEMPLATE


def mean_image(data: Path) -> Image.Image:
    """The mean of the films of `train_val_list.txt` in a folder of the ChestX-ray14 layout, SIDE x SIDE pixels."""
    names = read_list(data / "train_val_list.txt", read_table(find_table(data)))
    total = np.zeros((SIDE, SIDE))
    for name in names:
        image = Image.fromarray(read_radiograph(data / "images" / name).pixels)
        total += np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    return Image.fromarray((total / len(names)).round().astype(np.uint8))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder in the ChestX-ray14 layout")
    parser.add_argument("--out", type=Path, default=TEMPLATE)
    given = parser.parse_args(arguments)
    mean_image(given.data).save(given.out)


if __name__ == "__main__":
    main()
