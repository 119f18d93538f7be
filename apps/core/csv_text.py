"""Tables as CSV that a spreadsheet opens without running anything."""

import csv
import io
from collections.abc import Iterable, Sequence

# Some spreadsheets take the full-width signs of East Asian keyboards for the plain ones.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The table with a header line. A missing value is an empty cell.

    A text that a spreadsheet would take for a formula begins with an apostrophe (OWASP, *CSV Injection*); a number
    stays as it is.
    """
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(columns)
    table.writerows([_cell(each) for each in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
