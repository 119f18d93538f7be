"""What a client still sends after it was answered."""

import logging
import time
from typing import Any

logger = logging.getLogger(__name__)
SECONDS = 10.0
_READ_BYTES = 64 * 1024


def read_away(environ: dict[str, Any]) -> None:
    """Read the rest of a body that the application did not want: it was refused by its headers, say.

    Otherwise gunicorn resets the connection after 64 KiB: a client that is still sending never sees the answer, and
    one that sends its next request on the same connection, as it was told it may, loses it. A client that takes
    longer than `SECONDS` is cut off all the same.
    """
    body, connection = environ.get("wsgi.input"), environ.get("gunicorn.socket")
    if body is None or connection is None:
        return
    deadline = time.monotonic() + SECONDS
    before = connection.gettimeout()
    try:
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not body.read(_READ_BYTES):
                break
    # It was answered already; gunicorn's reader of chunks has an error tree of its own.
    except Exception as error:
        logger.debug("The rest of a body was not read (%s).", type(error).__name__)
    finally:
        connection.settimeout(before)
