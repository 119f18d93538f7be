"""``python -m config.preconditions``: check what this machine must have, and print how to install what is missing."""

import platform
import sys

_PANGO = """WeasyPrint cannot find the Pango library, which draws the report's text. Install it and try again:
    Debian/Ubuntu:  sudo apt-get install -y libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0
    macOS:          brew install pango"""
_INTEL_MAC = "PyTorch has no wheels for Intel Macs: use an Apple-silicon Mac or a Linux machine."


def missing_precondition() -> str | None:
    """What is missing on this machine and how to get it, or None."""
    if sys.version_info < (3, 11):
        found = platform.python_version()
        return f"Checxray needs Python 3.11 or newer; this is {found}. Try `make demo PYTHON=python3.11`."
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        return _INTEL_MAC
    try:
        import weasyprint  # noqa: F401
    except OSError:
        return _PANGO
    return None


if __name__ == "__main__":
    problem = missing_precondition()
    if problem:
        sys.exit(problem)
