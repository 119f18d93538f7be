#!/usr/bin/env python3
"""Checxray's command line: attaches to the running embedded servers, or starts them for its own life."""

import os
import sys

from config.embedded import running_services

# These only read the code, or the files they are given; they need no server.
_OFFLINE = {
    "help",
    "--help",
    "--version",
    "makemessages",
    "compilemessages",
    "collectstatic",
    "spectacular",
    "dataset_summary",
}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")
    from django.core.management import execute_from_command_line

    if len(sys.argv) < 2 or sys.argv[1] in _OFFLINE or "--help" in sys.argv:
        execute_from_command_line(sys.argv)
        return
    with running_services():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
