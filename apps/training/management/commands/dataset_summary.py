"""Summarise a data set: films, patients and findings, beside the published ChestX-ray14 and the paper's Table 1."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.registry import engine

# No progress bar: tables of a few hundred thousand lines are read in seconds.
_SHORT = {
    "Cardiomegaly": "Card",
    "Infiltration": "Infi",
    "Pneumonia": "Pneu",
    "Pneumothorax": "PTX",
    "Pleural_Thickening": "PlTh",
    "Emphysema": "Emph",
}
_PUBLISHED = "ChestX-ray14"
_PAPER = (
    'ChestX-ray14: NIH\'s table of 2020. Paper: Table 1 of "Checxray: A SaaS Application for Chest X-Ray Diagnosis" '
    "(Chappidi, Shaikh, Bhan, Mane, Khan), which counts NIH's release of 2017."
)
_WIDTH = 118


class Command(BaseCommand):
    help = "Count films, patients and findings of a data folder, per part of its split, beside the published data set."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--data", type=Path, required=True, metavar="DIR", help="a folder in one of the layouts of docs/data.md"
        )
        parser.add_argument("--split", choices=("official", "files"), default="official", help="as train_model's")
        parser.add_argument("--pairs", action="store_true", help="also how often two findings are on one film")
        parser.add_argument("--json", action="store_true", help="print everything as JSON instead")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            summary = engine.describe(options["data"], options["split"])
        except (engine.DatasetInvalid, OSError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(summary, indent=2))
            return
        for line in _text(summary, pairs=options["pairs"]):
            self.stdout.write(line)


def _text(summary: Mapping[str, Any], *, pairs: bool) -> Iterator[str]:
    yield f"{summary['data']}: {summary['films']:,} films of {summary['patients']:,} patients ({summary['table']})"
    yield f"  layout: {summary['layout']}"
    yield f"  images present: {summary['images_present']:,} of {summary['films']:,}; boxes: {summary['boxes']:,}"
    yield from _listed("left out", summary["left_out"])
    yield ""
    yield from _table("Finding", summary, summary["published"], "labels")
    yield from _wrapped(_PAPER)
    yield from _listed("findings without an NIH label, kept aside", summary["other_labels"])
    unknown = {label: row["unknown"] for label, row in summary["labels"].items() if row["unknown"]}
    if unknown:
        yield from _listed("unknown, so in no share", unknown)
    for title, key in (
        ("Findings on a film", "findings_per_film"),
        ("View", "views"),
        ("Sex", "sexes"),
        ("Age in years", "ages"),
    ):
        yield ""
        yield from _table(title, summary, summary["published"], key)
    yield f"{'median':<20}{_number(summary['median_age']):>9}{'':21}{_number(summary['published']['median_age']):>9}"
    yield ""
    yield from _split(summary)
    if pairs:
        yield ""
        yield from _pairs(summary["co_occurrence"])


def _listed(title: str, counts: Mapping[str, int]) -> Iterator[str]:
    if counts:
        yield from _wrapped(f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))


def _wrapped(text: str) -> Iterator[str]:
    yield from wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")


def _table(title: str, ours: Mapping[str, Any], published: Mapping[str, Any], key: str) -> Iterator[str]:
    """One row for each value: films, share of films and (for findings) patients, in both data sets.

    For findings the last column is the paper's.
    """
    patients = key == "labels"
    head = f"{'films':>9}{'share':>9}" + (f"{'patients':>10}" if patients else f"{'':10}")
    if patients:
        yield f"{'':<20}{'this data':>9}{'':21}{_PUBLISHED:<28}{'Paper':>9}"
    yield f"{title:<20}{head}  {head}{'films' if patients else '':>9}".rstrip()
    for value in dict.fromkeys([*published[key], *ours[key]]):
        cells = [_cells(side[key].get(value), side["films"], patients=patients) for side in (ours, published)]
        paper = ours["paper_table_1"].get(value) if patients else None
        yield f"{value:<20}{'  '.join(cells)}{'' if paper is None else f'{paper:,}':>9}".rstrip()


def _cells(entry: Any, films: int, *, patients: bool) -> str:
    if entry is None:
        return f"{'-':>9}{'-':>9}{'':10}"
    if not patients:
        return f"{entry:>9,}{_percent(entry / films):>9}{'':10}"
    return f"{entry['films']:>9,}{_percent(entry['share']):>9}{entry['patients']:>10,}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _split(summary: Mapping[str, Any]) -> Iterator[str]:
    split = summary["split"]
    if split is None:
        yield f"No split: {summary['split_missing']}."
        return
    yield f"Split: {split['how']} (SHA-256 {split['sha256']})"
    parts = split["parts"]
    yield f"{'Finding':<20}" + "".join(f"{part:>20}" for part in parts)
    for row in ("films", "patients"):
        yield f"{row:<20}" + "".join(f"{counts[row]:>20,}" for counts in parts.values())
    for label in summary["labels"]:
        cells = ((counts["labels"][label]["films"], counts["labels"][label]["share"]) for counts in parts.values())
        yield f"{label:<20}" + "".join(f"{films:>11,}{_percent(share):>9}" for films, share in cells)
    yield f"patients in two parts: {split['patients_in_two_parts']}; films in no part: {split['films_in_no_part']:,}"


def _pairs(pairs: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    yield "Films with both findings"
    yield f"{'':<20}" + "".join(f"{_SHORT.get(label, label[:4]):>7}" for label in pairs)
    for label, row in pairs.items():
        yield f"{label:<20}" + "".join(f"{count:>7,}" for count in row.values())
