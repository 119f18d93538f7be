"""MIMIC-CXR-JPG 2.0.0 and 2.1.0 (Johnson et al. 2019), as PhysioNet distributes it.

`mimic-cxr-2.0.0-metadata.csv.gz` (one line an image), `mimic-cxr-2.0.0-chexpert.csv.gz` (one line a study, by
CheXpert's labeller), `mimic-cxr-2.0.0-split.csv.gz`, and images such as `files/p10/p10000032/s50414267/<dicom_id>.jpg`.
Only views that are certainly frontal are read.
"""

from pathlib import Path

from ml.data.layouts import chexpert
from ml.data.layouts.base import Dataset, Layout
from ml.data.records import DatasetInvalid, ImageRecord
from ml.data.tables import add_record, read_rows, relative_path

_EXAMPLE = "mimic-cxr-2.0.0-{}.csv.gz"
_PARTS = {"train": "train", "validate": "validation", "test": "test"}
_LATERAL = ("LATERAL", "LL", "RL", "XTABLE LATERAL")
_CODED = {
    "antero-posterior": "AP",
    "postero-anterior": "PA",
    "lateral": "LATERAL",
    "left lateral": "LATERAL",
    "right lateral": "LATERAL",
}
"""ViewCodeSequence_CodeMeaning, which is often there where ViewPosition is empty."""


def _table(root: Path, what: str) -> Path | None:
    return next((path for path in sorted(root.glob(f"mimic-cxr-2.*-{what}.csv*")) if path.is_file()), None)


def _needed(root: Path, what: str) -> Path:
    path = _table(root, what)
    if path is None:
        raise DatasetInvalid(f"No {_EXAMPLE.format(what)} in {root}. Put the table there, gzipped or not.")
    return path


def _find(root: Path) -> Path | None:
    return next(filter(None, (_table(root, what) for what in ("metadata", "chexpert", "split"))), None)


def _labels(root: Path) -> dict[str, tuple[frozenset[str], frozenset[str], frozenset[str]]]:
    path = _needed(root, "chexpert")
    return {
        row["study_id"]: chexpert.labels_of(f"{path.name} line {line}", row)
        for line, row in read_rows(path, ("subject_id", "study_id", *chexpert.MAPPED))
    }


def _parts(root: Path) -> dict[str, str] | None:
    path = _table(root, "split")
    if path is None:
        return None
    parts = {}
    for line, row in read_rows(path, ("dicom_id", "split")):
        if row["split"] not in _PARTS:
            raise DatasetInvalid(f"{path.name} line {line}: split is {row['split']!r}, not {', '.join(_PARTS)}.")
        parts[row["dicom_id"]] = _PARTS[row["split"]]
    return parts


def _read(root: Path) -> Dataset:
    path, labels, parts = _needed(root, "metadata"), _labels(root), _parts(root)
    dataset = Dataset({})
    for line, row in read_rows(path, ("dicom_id", "subject_id", "study_id", "ViewPosition")):
        view = row["ViewPosition"] or _CODED.get(row.get("ViewCodeSequence_CodeMeaning", ""), "")
        image, subject, study = row["dicom_id"], row["subject_id"], row["study_id"]
        reason = _left_out(view, labelled=study in labels, divided=parts is None or image in parts)
        if reason:
            dataset.left_out[reason] += 1
            continue
        findings, unknown, others = labels[study]
        where = f"{path.name} line {line}"
        name = relative_path(where, f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg")
        part = parts[image] if parts else ""
        add_record(
            dataset.records,
            ImageRecord(name, subject, findings, None, "", view, unknown, part, line, others, path.name),
        )
    return dataset


def _left_out(view: str, *, labelled: bool, divided: bool) -> str | None:
    if view not in ("PA", "AP"):
        return "lateral view" if view in _LATERAL else f"view {view}" if view else "unknown view"
    if not labelled:
        return "study without labels"
    return None if divided else "not in the split table"


MIMIC = Layout(
    kind="mimic",
    title="MIMIC-CXR-JPG",
    source="MIMIC-CXR-JPG (Johnson et al. 2019)",
    looked_for=f"{_EXAMPLE.format('metadata')} (MIMIC-CXR-JPG)",
    find=_find,
    read=_read,
    own_split="MIMIC-CXR-JPG's split table",
)
