"""The processes of one machine, as ``make demo``, the benchmarks and the tests start them."""

import sys

_ARGUMENTS = {
    "web": ["-m", "gunicorn", "-c", "config/gunicorn.conf.py", "config.wsgi"],
    "worker": ["-m", "celery", "-A", "workers.celery", "worker", "-l", "INFO", "--without-mingle", "--without-gossip"],
    "dispatcher": ["manage.py", "dispatcher"],
    "dimse": ["manage.py", "dimse_listener"],
}
NAMES = tuple(_ARGUMENTS)


def command(name: str, *more: str) -> list[str]:
    """The command line of a process, for the interpreter that runs this one."""
    return [sys.executable, *_ARGUMENTS[name], *more]
