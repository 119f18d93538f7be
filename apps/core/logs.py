"""Log lines without patient data: no request path (it contains UIDs), no row's values in a database error."""

import logging
import re
from types import TracebackType

_VALUES = re.compile(r"^(DETAIL|CONTEXT|LINE \d+):.*$", re.MULTILINE)


class WithoutPaths(logging.Filter):
    """Name the view instead of the path in the lines that Django writes about a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        if request is not None:
            match = getattr(request, "resolver_match", None)
            view = match.view_name if match else "unmatched"
            record.msg, record.args = "%s %s: %s", (getattr(record, "status_code", "-"), request.method, view)
        return True


class LineFormatter(logging.Formatter):
    def formatException(  # noqa: N802
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return _VALUES.sub(r"\1: (withheld)", super().formatException(ei))
