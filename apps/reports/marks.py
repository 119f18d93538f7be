"""The images on which readers marked their findings, for a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.core.finding_names import finding_name
from apps.reports.images import boxes_uri, load_image
from apps.reports.models import Report
from apps.studies.models import Instance
from apps.studies.selectors import instances_of


@dataclass(frozen=True)
class MarkedImage:
    """An image with boxes; ``names`` has the finding of each box, in the order of the numbers on the boxes."""

    view: str
    names: Sequence[str]
    picture: str


def name_of(finding: Mapping[str, Any]) -> str:
    """The name of a reader's finding, as `ReaderFinding.as_signed`, in the language in force."""
    return finding_name(finding["label"]) if finding["label"] else str(finding["name"])


def marked_images(report: Report) -> list[MarkedImage]:
    """Each image with a box of a finding that a reader added, as far as it is stored.

    Raises:
        UnavailableError: the object of an image cannot be read.
    """
    marked: dict[str, list[Mapping[str, Any]]] = {}
    for finding in report.reader_findings:
        if finding["box"]:
            marked.setdefault(finding["sop_instance_uid"], []).append(finding)
    if not marked:
        return []
    return [
        _marked(instance, marked[instance.sop_instance_uid])
        for instance in instances_of(report.study)
        if instance.sop_instance_uid in marked
    ]


def _marked(instance: Instance, findings: Sequence[Mapping[str, Any]]) -> MarkedImage:
    rows, columns = instance.shape
    boxes = [
        (x / columns, y / rows, (x + width) / columns, (y + height) / rows)
        for x, y, width, height in (finding["box"] for finding in findings)
    ]
    picture = boxes_uri(load_image(instance), boxes)
    return MarkedImage(instance.view_position, [name_of(each) for each in findings], picture)
