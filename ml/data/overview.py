"""Summarise a data set in numbers, beside those of the published ChestX-ray14."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ml.data.folder import find_layout, find_table, images_present, read_boxes, read_dataset
from ml.data.published import PAPER_TABLE_1, PUBLISHED
from ml.data.records import CannotBeDivided, DatasetInvalid, ImageRecord
from ml.data.splits import has_lists, read_split
from ml.labels import LABELS, NO_FINDING

AGES = (20, 40, 60, 80)
AGE_BANDS = ("0-19", "20-39", "40-59", "60-79", "80+")
MOST_FINDINGS = 4
"""Images with this many findings or more are counted together."""


def age_range(records: dict[str, ImageRecord], names: Sequence[str]) -> dict[str, int] | None:
    """Ages of the youngest and the oldest patient of some images, for a manifest; None where no age is known."""
    ages = [age for name in names if (age := records[name].age) is not None]
    return {"from_years": min(ages), "to_years": max(ages)} if ages else None


def summary(records: dict[str, ImageRecord], names: Sequence[str]) -> dict[str, Any]:
    """Counts for a model card: images, patients, positives per label, views, sexes, and unknown labels if any."""
    chosen = [records[name] for name in names]
    count = Counter(finding for record in chosen for finding in record.findings)
    unknown = Counter(label for record in chosen for label in record.unknown)
    counted = {
        "films": len(chosen),
        "patients": len({record.patient for record in chosen}),
        "positives": {label: count[label] for label in LABELS},
        "views": dict(sorted(Counter(record.view for record in chosen).items())),
        "sexes": dict(sorted(Counter(record.sex for record in chosen).items())),
    }
    return counted | ({"unknown": {label: unknown[label] for label in LABELS}} if unknown else {})


def counts(records: Iterable[ImageRecord]) -> dict[str, Any]:
    """Count images and patients, in all and per label, and findings per image, views, sexes and ages.

    `share` is the share among images whose label is known. "No Finding" means that all fourteen labels are known and
    none is present.
    """
    records = list(records)
    with_label: dict[str, list[ImageRecord]] = defaultdict(list)
    unknown = Counter(label for record in records for label in record.unknown)
    for record in records:
        for label in record.findings or ((NO_FINDING,) if not record.unknown else ()):
            with_label[label].append(record)
    unknown[NO_FINDING] = sum(bool(record.unknown and not record.findings) for record in records)
    labels = {}
    for label in (*LABELS, NO_FINDING):
        known = len(records) - unknown[label]
        labels[label] = {
            "films": len(with_label[label]),
            "share": len(with_label[label]) / known if known else None,
            "patients": len({record.patient for record in with_label[label]}),
            "unknown": unknown[label],
        }
    ages = [record.age for record in records if record.age is not None]
    return {
        "films": len(records),
        "patients": len({record.patient for record in records}),
        "labels": labels,
        "findings_per_film": _count(
            (_number_of_findings(len(record.findings)) for record in records), [*"0123", f"{MOST_FINDINGS}+"]
        ),
        "views": _count((record.view or "unknown" for record in records), ("PA", "AP")),
        "sexes": _count((record.sex or "unknown" for record in records), ("F", "M")),
        "ages": _count((age_band(record.age) for record in records), AGE_BANDS),
        "median_age": float(median(ages)) if ages else None,
    }


def age_band(age: int | None) -> str:
    """The band of AGE_BANDS for an age in years, or "unknown"."""
    return "unknown" if age is None else AGE_BANDS[bisect_right(AGES, age)]


def _number_of_findings(findings: int) -> str:
    return str(findings) if findings < MOST_FINDINGS else f"{MOST_FINDINGS}+"


def _count(values: Iterable[str], order: Sequence[str]) -> dict[str, int]:
    found = Counter(values)
    return {value: found[value] for value in order} | {v: n for v, n in sorted(found.items()) if v not in order}


def co_occurrence(records: Iterable[ImageRecord]) -> dict[str, dict[str, int]]:
    """Number of images with both of two labels; on the diagonal, with the one label."""
    pairs = Counter((a, b) for record in records for a in record.findings for b in record.findings)
    return {a: {b: pairs[a, b] for b in LABELS} for a in LABELS}


def describe(root: Path, how: str = "official") -> dict[str, Any]:
    """All counts of a folder, JSON-ready. The image files may be missing.

    Returns:
        `split` has the counts of each subset. Where a list is missing, or there are too few patients to divide, it is
        None and `split_missing` says why.
        `left_out` counts images of the tables that are not read, by reason; `other_labels` counts images with findings
        that no NIH label stands for.

    Raises:
        DatasetInvalid: the table or a list is not usable.
    """
    dataset = read_dataset(root)
    records = dataset.records
    missing = _missing_lists(root) if how == "official" else None
    split = None
    try:
        split = None if missing else _parts(root, records, how)
    except CannotBeDivided as error:
        missing = str(error).removesuffix(".")
    others = Counter(name for record in records.values() for name in record.others)
    return {
        "data": root.resolve().name,
        "layout": find_layout(root).title,
        "table": find_table(root).name,
        "left_out": dict(sorted(dataset.left_out.items())),
        "other_labels": dict(others.most_common()),
        "images_present": len(images_present(root, list(records))),
        "boxes": len(read_boxes(root, records)),
        **counts(records.values()),
        "split": split,
        "split_missing": missing,
        "co_occurrence": co_occurrence(records.values()),
        "published": PUBLISHED,
        "paper_table_1": PAPER_TABLE_1,
    }


def _missing_lists(root: Path) -> str | None:
    if not has_lists(root):
        return None
    absent = [f"{part}_list.txt" for part in ("train_val", "test") if not (root / f"{part}_list.txt").is_file()]
    return f"no {' and no '.join(absent)} in the folder" if absent else None


def _parts(root: Path, records: dict[str, ImageRecord], how: str) -> dict[str, Any]:
    split = read_split(root, records, how)
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    patients = {part: {records[name].patient for name in names} for part, names in parts.items()}
    shared = sum(map(len, patients.values())) - len(set().union(*patients.values()))
    if shared:
        raise DatasetInvalid(f"{shared} patients are in two parts of the split. Split by patient.")
    return {
        "how": split.how,
        "sha256": split.sha256,
        "patients_in_two_parts": shared,
        "films_in_no_part": len(records) - sum(map(len, parts.values())),
        "parts": {part: counts(records[name] for name in names) for part, names in parts.items()},
    }
