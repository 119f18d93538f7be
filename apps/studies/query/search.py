"""Selectors that search the studies, series and instances of the tenant in force."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from apps.studies.models import Series, Study
from apps.studies.query.attributes import ATTRIBUTES, OF_SERIES_OF_A_STUDY, UIDS, Attribute, Level
from apps.studies.query.matching import condition
from apps.studies.selectors import visible_instances

Values = dict[str, Any]
"""Values by DICOM keyword: DICOM text, numbers, or a list of them; an empty value is None."""
ONLINE: Final = "ONLINE"
# Matched in the instances of a study, as seen from one of them.
_IN_THE_STUDY: Final = {
    "ModalitiesInStudy": "series__modality",
    "SOPClassesInStudy": "sop_class_uid",
    "Modality": "series__modality",
    "BodyPartExamined": "series__body_part_examined",
}
_SELECTIVE: Final = frozenset({*UIDS, "PatientID", "AccessionNumber"})
_FIRST_WINDOW: Final = 200
_GROWTH: Final = 8
_STUDY_OF: Final = {Level.STUDY: "pk", Level.SERIES: "study", Level.INSTANCE: "series__study"}


@dataclass(frozen=True)
class Search:
    """What to search for.

    Attributes:
        keys: values by keyword of `ATTRIBUTES`.
        parents: levels that the address names already; their attributes are not returned unless asked for.
        include: keywords to return in addition; ``include_all`` returns every one.
        with_results: False leaves out the objects that show findings.
    """

    level: Level
    keys: Mapping[str, str]
    limit: int
    offset: int = 0
    parents: frozenset[Level] = frozenset()
    include: frozenset[str] = frozenset()
    include_all: bool = False
    with_results: bool = True


@dataclass
class Page:
    """The rows that were found, the newest first, and whether there are more."""

    rows: list[Values] = field(default_factory=list)
    has_more: bool = False


def search(wanted: Search) -> Page:
    """The studies, series or instances that match, without withdrawn studies and held images.

    The newest is first, and the order is stable, so that pages by ``offset`` neither repeat nor leave out a row.

    Raises:
        InvalidInputError: the value of a key is not valid.
    """
    rows = _rows(wanted.level, with_results=wanted.with_results)
    for keyword, value in wanted.keys.items():
        rows = rows.filter(_condition(ATTRIBUTES[keyword], value, wanted))
    found = _newest(rows, wanted)
    by_key = _rows(wanted.level, with_results=wanted.with_results).in_bulk(found[: wanted.limit])
    page = [by_key[pk] for pk in found[: wanted.limit] if pk in by_key]
    returned = [attribute for attribute in ATTRIBUTES.values() if _is_returned(attribute, wanted)]
    totals = _Totals(page, returned, wanted)
    return Page([_values(row, returned, totals, wanted) for row in page], len(found) > wanted.limit)


def _newest(rows: "QuerySet[Any]", wanted: Search) -> list[UUID]:
    """The primary keys of the page, newest first, and of one row more where there is one.

    The keys are UUIDs of version 7, and an index of the tenant's rows has them in this order. They are read in windows
    of growing size: in one statement over all rows PostgreSQL, which knows no figures of a single tenant, expects few
    matches, and joins and sorts the whole hospital for each page.
    """
    end = wanted.offset + wanted.limit + 1
    keys = rows.order_by("-pk").values_list("pk", flat=True)
    if any(_is_selective(ATTRIBUTES[keyword], value) for keyword, value in wanted.keys.items()):
        return list(keys[wanted.offset : end])
    every = rows.model.objects.order_by("-pk").values_list("pk", flat=True)
    found: list[UUID] = []
    size = _FIRST_WINDOW
    before: UUID | None = None
    while len(found) < end:
        older = Q(pk__lt=before) if before is not None else Q()
        lowest = every.filter(older)[size - 1 : size].first()
        window = keys.filter(older, Q(pk__gte=lowest) if lowest is not None else Q())
        found += window[: end - len(found)]
        if lowest is None:
            break
        before, size = lowest, size * _GROWTH
    return found[wanted.offset :]


def _is_selective(attribute: Attribute, value: str) -> bool:
    """Whether an index finds the few rows that have this value."""
    value = value.strip()
    if attribute.keyword == "PatientName":
        return any(group.strip(" ^")[:1] not in ("", "*", "?") for group in value.split("="))
    if attribute.keyword == "PatientBirthDate":
        return value.isdigit()
    return attribute.keyword in _SELECTIVE and not set(value) & set("*?") and bool(value)


def _rows(level: Level, *, with_results: bool) -> "QuerySet[Any]":
    visible = visible_instances(with_results=with_results)
    if level is Level.STUDY:
        return Study.objects.filter(withdrawn__isnull=True).select_related("patient")
    if level is Level.SERIES:
        series = Series.objects.filter(study__withdrawn__isnull=True)
        return series.filter(Exists(visible.filter(series=OuterRef("pk")))).select_related("study__patient")
    return visible.select_related("series__study__patient")


def _condition(attribute: Attribute, value: str, wanted: Search) -> Q:
    in_study = _IN_THE_STUDY.get(attribute.keyword)
    is_of_series = attribute.keyword in OF_SERIES_OF_A_STUDY
    if in_study is None or (is_of_series and wanted.level is not Level.STUDY):
        return condition(attribute, value, attribute.path(wanted.level))
    matches = condition(attribute, value, in_study)
    if not matches:
        return matches
    instances = visible_instances(with_results=wanted.with_results)
    return Q(Exists(instances.filter(matches, series__study=OuterRef(_STUDY_OF[wanted.level]))))


def _is_returned(attribute: Attribute, wanted: Search) -> bool:
    if attribute.level > wanted.level:
        return False
    if attribute.keyword in UIDS or attribute.keyword == "InstanceAvailability":
        return True
    if wanted.include_all or attribute.keyword in wanted.include or attribute.keyword in wanted.keys:
        return True
    return attribute.is_default and (attribute.level is wanted.level or attribute.level not in wanted.parents)


class _Totals:
    """Counts and lists over the instances of the studies and series of a page: one query for each level."""

    def __init__(self, page: Sequence[Any], returned: Iterable[Attribute], wanted: Search) -> None:
        names = {attribute.keyword for attribute in returned}
        visible = visible_instances(with_results=wanted.with_results)
        self.of_study: dict[UUID, Values] = {}
        self.of_series: dict[UUID, Values] = {}
        if names & {"ModalitiesInStudy", "SOPClassesInStudy"} or any(
            name.startswith("NumberOfStudy") for name in names
        ):
            studies = {_study(row, wanted.level).pk for row in page}
            rows: Any = visible.filter(series__study__in=studies).values("series__study").order_by()
            for row in rows.annotate(
                NumberOfStudyRelatedSeries=Count("series", distinct=True),
                NumberOfStudyRelatedInstances=Count("pk"),
                ModalitiesInStudy=ArrayAgg("series__modality", distinct=True, filter=~Q(series__modality="")),
                SOPClassesInStudy=ArrayAgg("sop_class_uid", distinct=True),
            ):
                self.of_study[row.pop("series__study")] = row
        if "NumberOfSeriesRelatedInstances" in names:
            series = {_series(row, wanted.level).pk for row in page}
            counts: Any = visible.filter(series__in=series).values("series").order_by()
            for count in counts.annotate(NumberOfSeriesRelatedInstances=Count("pk")):
                self.of_series[count.pop("series")] = count


def _study(row: Any, level: Level) -> Any:
    return row if level is Level.STUDY else row.study if level is Level.SERIES else row.series.study


def _series(row: Any, level: Level) -> Any:
    return row if level is Level.SERIES else row.series


def _values(row: Any, returned: Iterable[Attribute], totals: _Totals, wanted: Search) -> Values:
    found: Values = {}
    for attribute in returned:
        if attribute.field:
            found[attribute.keyword] = _plain(_read(row, attribute.path(wanted.level)))
        elif attribute.keyword == "InstanceAvailability":
            found[attribute.keyword] = ONLINE
        elif attribute.level is Level.STUDY:
            of_study = totals.of_study.get(_study(row, wanted.level).pk, {})
            found[attribute.keyword] = of_study.get(attribute.keyword) or _none(attribute)
        else:
            of_series = totals.of_series.get(_series(row, wanted.level).pk, {})
            found[attribute.keyword] = of_series.get(attribute.keyword) or _none(attribute)
    return found


def _none(attribute: Attribute) -> int | None:
    return 0 if attribute.vr == "IS" else None


def _read(row: Any, path: str) -> Any:
    for step in path.split("__"):
        row = row.get(step) if isinstance(row, dict) else getattr(row, step)
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.date):
        return f"{value.year:04d}{value:%m%d}"
    if isinstance(value, datetime.time):
        return value.strftime("%H%M%S")
    if isinstance(value, str) and "\\" in value:
        return value.split("\\")
    return None if value == "" else value
