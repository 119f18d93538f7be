"""PadChest (Bustos et al. 2020), as BIMCV distributes it.

`PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv` and 16-bit PNG images, unpacked into folders by `ImageDir`
(`0/` ... `54/`) or together. `Labels` holds a Python list of English terms for what Spanish reports say, such as
`['pleural effusion', 'cardiomegaly']`. A term is mapped by its name, never by a part of it: subcutaneous emphysema is
no emphysema.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from ml.data.layouts.base import Dataset, Layout
from ml.data.records import DatasetInvalid, ImageRecord
from ml.data.tables import Row, add_record, images_in_folders, read_rows
from ml.labels import LABELS

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"

_TERMS = {
    "Atelectasis": (
        "atelectasis",
        "atelectasis basal",
        "laminar atelectasis",
        "lobar atelectasis",
        "round atelectasis",
        "segmental atelectasis",
        "total atelectasis",
    ),
    "Cardiomegaly": ("cardiomegaly",),
    "Effusion": (
        "pleural effusion",
        "loculated pleural effusion",
        "loculated fissural effusion",
        "hydropneumothorax",
        "hemothorax",
        "empyema",
    ),
    "Infiltration": ("infiltrates",),
    "Mass": ("mass", "pulmonary mass"),
    "Nodule": ("nodule", "multiple nodules"),
    "Pneumonia": ("pneumonia", "atypical pneumonia"),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax"),
    "Consolidation": ("consolidation",),
    "Edema": ("pulmonary edema",),
    "Emphysema": ("emphysema",),
    "Fibrosis": ("pulmonary fibrosis",),
    "Pleural_Thickening": ("pleural thickening", "apical pleural thickening", "calcified pleural thickening"),
    "Hernia": ("hiatal hernia",),
}
_DOUBTFUL = {
    "Infiltration": (
        "interstitial pattern",
        "ground glass pattern",
        "reticular interstitial pattern",
        "reticulonodular interstitial pattern",
        "miliary opacities",
        "alveolar pattern",
        "air bronchogram",
        "consolidation",
    ),
    "Consolidation": ("air bronchogram",),
    "Fibrosis": ("fibrotic band", "post radiotherapy changes"),
    "Emphysema": ("copd signs", "bullas"),
}
"""Terms that leave a label unknown: PadChest's own tree puts them below or beside it, NIH does not."""

_MAPPED = frozenset(term for terms in _TERMS.values() for term in terms)
_UNCHANGED, _EXCLUDED, _NORMAL = "unchanged", "exclude", "normal"
_VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP", "L": "lateral"}
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_OLDEST = 120


def _find(root: Path) -> Path | None:
    found = sorted(root.glob("PADCHEST_chest_x_ray_images_labels_160K*.csv*"))
    return next((path for path in found if path.is_file()), None)


def _read(root: Path) -> Dataset:
    path, dataset = _find(root), Dataset({})
    assert path is not None
    for line, row in read_rows(path, ("ImageID", "ImageDir", "PatientID", "Projection", "Labels")):
        where = f"{path.name} line {line}"
        view, terms = _VIEWS.get(row["Projection"]), _terms(where, row["Labels"])
        reason = _left_out(view, row["Projection"], terms)
        if reason:
            dataset.left_out[reason] += 1
            continue
        if not row["ImageID"] or "/" in row["ImageID"] or not row["PatientID"]:
            raise DatasetInvalid(f"{where}: ImageID is no file name, or PatientID is empty. Copy the table again.")
        findings = frozenset(label for label, names in _TERMS.items() if terms & set(names))
        add_record(
            dataset.records,
            ImageRecord(
                row["ImageID"],
                row["PatientID"],
                findings,
                _age(row),
                sex if (sex := row.get("PatientSex_DICOM", "")) in ("M", "F") else "",
                view or "",
                _unknown(terms, findings),
                "",
                line,
                terms - _MAPPED - {_NORMAL},
                path.name,
            ),
        )
    return dataset


def _terms(where: str, text: str) -> frozenset[str]:
    if not text or text.casefold() == "nan":
        return frozenset()
    if not (text.startswith("[") and text.endswith("]")):
        raise DatasetInvalid(
            f"{where}: Labels is {text[:40]!r}, no list such as ['cardiomegaly']. Copy the table again."
        )
    found = (single or double for single, double in _QUOTED.findall(text))
    return frozenset(" ".join(term.split()).casefold() for term in found) - {""}


def _left_out(view: str | None, projection: str, terms: frozenset[str]) -> str | None:
    if view == "lateral":
        return "lateral view"
    if view is None:
        return f"projection {projection}" if projection else "unknown view"
    if not terms:
        return "report without labels"
    return "excluded by the labels" if _EXCLUDED in terms else None


def _unknown(terms: frozenset[str], findings: frozenset[str]) -> frozenset[str]:
    """A report that says "unchanged" does not repeat what was there, so only what it names is known."""
    if _UNCHANGED in terms:
        return frozenset(LABELS) - findings
    return frozenset(label for label, names in _DOUBTFUL.items() if terms & set(names)) - findings


def _age(row: Row) -> int | None:
    birth, study = row.get("PatientBirth", "").partition(".")[0], row.get("StudyDate_DICOM", "")[:4]
    age = int(study) - int(birth) if birth.isdecimal() and study.isdecimal() else -1
    return age if 0 <= age <= _OLDEST else None


def _images(root: Path, names: Iterable[str]) -> dict[str, Path]:
    places = (root, root / "images")
    numbered = sorted(folder for place in places for folder in place.glob("[0-9]*") if folder.is_dir())
    return images_in_folders(root, (*places, *numbered), names)


PADCHEST = Layout(
    kind="padchest",
    title="PadChest",
    source="PadChest (BIMCV; Bustos et al. 2020)",
    looked_for=f"{TABLE} (PadChest)",
    find=_find,
    read=_read,
    images=_images,
    place="in the folder, in images/ or in their ImageDir",
)
