"""HTML for tables, and for figures with their confidence intervals."""

from collections.abc import Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString


def figure(part: dict[str, Any], name: str) -> str:
    if part.get(name) is None:
        return "–"
    interval = part.get("ci95")
    return f"{part[name]:.3f}" + (f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else "")


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> SafeString:
    head = format_html_join("", "<th>{}</th>", ((each,) for each in heads))
    body = format_html_join(
        "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows)
    )
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)
