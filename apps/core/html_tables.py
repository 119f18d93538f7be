"""HTML for tables, and for figures with their confidence intervals."""

from collections.abc import Sequence, Sized
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString


def figure(part: dict[str, Any], name: str) -> str:
    if part.get(name) is None:
        return "–"
    interval = part.get("ci95")
    return f"{part[name]:.3f}" + (f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else "")


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> SafeString:
    """A table that scrolls by itself, also by keyboard, where the window is too narrow for it."""
    head = format_html_join("", '<th scope="col">{}</th>', ((each,) for each in heads))
    body = format_html_join(
        "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows)
    )
    return format_html(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}">'
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>",
        ", ".join(heads),
        head,
        body,
    )


def outline(value: Any, most: int = 50) -> SafeString | str:
    """A JSON value for people: an object as a table of names and values, a list of plain values on one line.

    Args:
        most: so many entries of each list and object are shown; the others are counted.
    """
    if isinstance(value, dict):
        rows = [(str(name).replace("_", " "), outline(each, most)) for name, each in list(value.items())[:most]]
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        rows = [(str(number), outline(each, most)) for number, each in enumerate(value[:most], 1)]
    elif isinstance(value, list):
        return ", ".join(str(outline(each)) for each in value[:most]) + _more(value, most) or "–"
    elif isinstance(value, bool):
        return "Yes" if value else "No"
    else:
        return "–" if value is None or value == "" else str(value)
    if not rows:
        return "–"
    body = format_html_join("", '<tr><th scope="row">{}</th><td>{}</td></tr>', rows)
    return format_html('<table class="outline"><tbody>{}</tbody></table>{}', body, _more(value, most))


def _more(values: Sized, most: int) -> str:
    return f" … and {len(values) - most} more" if len(values) > most else ""
