"""QIDO-RS: searches for studies, series and instances (PS3.18 10.6)."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from django.http import QueryDict
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, operation_of, record
from apps.core.errors import InvalidInputError, NotFoundError
from apps.dicomweb.addresses import level_address
from apps.dicomweb.base import DicomwebView, require_uid
from apps.dicomweb.json_model import json_dataset
from apps.dicomweb.media_types import DICOM_JSON, JSON, Offer, accepted_ranges, require
from apps.studies.query.attributes import Level, Match, can_match, find_attribute
from apps.studies.query.search import Search, search
from apps.studies.selectors import get_study
from apps.tenants.models import ApiScope
from apps.tenants.scope import tenant_tx

MOST_RESULTS: Final = 1000
"""The results of one answer where the request sets no limit, and the largest limit."""
_MOST_KEYS: Final = 50
_MOST_OFFSET: Final = 10_000_000
_PARAMETERS: Final = frozenset(
    {
        "limit",
        "offset",
        "includefield",
        "fuzzymatching",
        "emptyvaluematching",
        "multiplevaluematching",
        "accept",
        "charset",
    }
)
_SAFE_NAME = re.compile(r"[A-Za-z0-9.]{1,64}")
_OFFERS: Final = (Offer(DICOM_JSON, is_multipart=False), Offer(JSON, is_multipart=False))
# PS3.18 8.3.4.2, 8.3.4.5 and 8.3.4.6.
_NOT_SUPPORTED: Final = {
    "fuzzymatching": "Only literal matching has been performed.",
    "emptyvaluematching": "Empty Value Matching has not been performed.",
    "multiplevaluematching": "Multiple Value Matching has not been performed.",
}


class SearchMixin:
    """The answer to a search; the class beside it is a `DicomwebView`."""

    def search(self: Any, request: Request, level: Level, uids: Mapping[str, str]) -> Response:
        """Search at a level, below the study and series that the address names."""
        chosen = require(accepted_ranges(request), _OFFERS)
        for name, uid in uids.items():
            require_uid(uid, name)
        wanted, warnings = read_search(request.query_params, level, uids, with_results=self.with_results)
        with tenant_tx(self.tenant_request.tenant.pk):
            if "StudyInstanceUID" in uids:
                study = get_study(uids["StudyInstanceUID"])
                if "SeriesInstanceUID" in uids:
                    _require_series(study, uids["SeriesInstanceUID"])
            page = search(wanted)
            record(
                action=AuditEvent.Action.STUDIES_SEARCHED,
                by=actor_of(self.tenant_request),
                operation=operation_of(self.tenant_request),
                amount=len(page.rows),
            )
        if page.has_more:
            warnings.append("There are additional results that can be requested.")
        headers = {"Warning": ", ".join(f'299 checxray "{text}"' for text in warnings)} if warnings else {}
        headers["Cache-Control"] = "private, no-store"
        if not page.rows:
            return Response(status=HTTPStatus.NO_CONTENT, headers=headers)
        base = request.build_absolute_uri("/dicom-web")
        found = [json_dataset(values, base + level_address(values, level)) for values in page.rows]
        response = Response(found, headers=headers)
        response.content_type = chosen.media_type
        return response


class SearchView(SearchMixin, DicomwebView):
    """A search at one level; ``level`` is an argument of ``as_view``."""

    get_scope = ApiScope.QUERY
    level = Level.STUDY

    def get(self, request: Request, study: str | None = None, series: str | None = None) -> Response:
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        return self.search(request, self.level, {name: uid for name, uid in uids.items() if uid is not None})


def read_search(
    parameters: QueryDict, level: Level, uids: Mapping[str, str], *, with_results: bool
) -> tuple[Search, list[str]]:
    """What a query string asks for, and the texts of the warnings (PS3.18 10.6.1).

    A key that is not searched is ignored and named in a warning, because its answer is not a match.

    Raises:
        InvalidInputError: a parameter is not valid.
    """
    keys, ignored = _keys(parameters, level)
    for name, uid in uids.items():
        if keys.get(name, uid) != uid:
            raise InvalidInputError(f"{name} is in the address already; leave it out of the query.", "key-twice")
        keys[name] = uid
    includes = [name.strip() for value in parameters.getlist("includefield") for name in value.split(",")]
    found = [attribute for name in includes if (attribute := find_attribute(name)) is not None]
    warnings = []
    if ignored:
        warnings.append(f"Not searched and ignored: {', '.join(ignored)}.")
    for name, what in _NOT_SUPPORTED.items():
        if parameters.get(name, "").lower() == "true":
            warnings.append(f"The {name} parameter is not supported. {what}")
    wanted = Search(
        level=level,
        keys=keys,
        limit=min(_number(parameters, "limit", MOST_RESULTS, least=1), MOST_RESULTS),
        offset=_number(parameters, "offset", 0, least=0),
        parents=frozenset({"StudyInstanceUID": Level.STUDY, "SeriesInstanceUID": Level.SERIES}[name] for name in uids),
        include=frozenset(attribute.keyword for attribute in found),
        include_all="all" in includes,
        with_results=with_results,
    )
    return wanted, warnings


def _keys(parameters: QueryDict, level: Level) -> tuple[dict[str, str], list[str]]:
    keys: dict[str, str] = {}
    ignored: list[str] = []
    names = [name for name in parameters if name not in _PARAMETERS]
    if len(names) > _MOST_KEYS:
        raise InvalidInputError(f"A search may have {_MOST_KEYS} keys at most.", "too-many-keys")
    for name in names:
        attribute = find_attribute(name)
        if attribute is None or not can_match(attribute, level):
            ignored.append(_shown(name))
            continue
        values = parameters.getlist(name)
        if attribute.match in (Match.UID, Match.CODE):
            value = "\\".join(values)
        elif len(values) == 1 and attribute.keyword not in keys:
            value = values[0]
        else:
            raise InvalidInputError(f"{attribute.keyword} is given more than once.", "key-twice")
        keys[attribute.keyword] = "\\".join(filter(None, (keys.get(attribute.keyword), value)))
    return keys, ignored[:20]


def _shown(name: str) -> str:
    """A parameter's name as it may stand in a header: an attribute of the dictionary, or a short plain name."""
    if re.fullmatch("[0-9A-Fa-f]{8}", name):
        return keyword_for_tag(int(name, 16)) or name
    if tag_for_keyword(name) is not None or _SAFE_NAME.fullmatch(name):
        return name
    return "a parameter without a valid name"


def _number(parameters: QueryDict, name: str, default: int, *, least: int) -> int:
    text = parameters.get(name)
    if text is None or text == "":
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= _MOST_OFFSET:
        raise InvalidInputError(f"{name} must be a whole number from {least} on.", f"{name}-invalid")
    return int(text)


def _require_series(study: Any, series_instance_uid: str) -> None:
    if not study.series.filter(series_instance_uid=series_instance_uid).exists():
        raise NotFoundError("There is no such series in this study.", "series-not-found")
