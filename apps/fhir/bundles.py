"""Bundles with the matches of a search (https://hl7.org/fhir/R4/bundle.html)."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from apps.fhir.outcomes import ignored_outcome
from apps.fhir.queries import Query
from apps.fhir.resources.datatypes import without_empty


def searchset(
    resources: Sequence[dict[str, Any]],
    query: Query,
    *,
    base: str,
    kind: str,
    total: int | None,
    following: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Build the Bundle of one page.

    Args:
        base: the address of the FHIR service.
        total: the number of all matches; None where it is not known.
        following: the parameters of the next page; none on the last.
    """
    links = [{"relation": "self", "url": _address(base, kind, query.used)}]
    if following:
        links.append({"relation": "next", "url": _address(base, kind, following)})
    entries = [
        {"fullUrl": f"{base}/{kind}/{each['id']}", "resource": each, "search": {"mode": "match"}} for each in resources
    ]
    if query.ignored:
        entries.append({"resource": ignored_outcome(query.ignored), "search": {"mode": "outcome"}})
    bundle = {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}
    return without_empty(bundle) | ({} if total is None else {"total": total})


def _address(base: str, kind: str, parameters: Sequence[tuple[str, str]]) -> str:
    return f"{base}/{kind}" + (f"?{urlencode(parameters)}" if parameters else "")
