"""The processes of one machine, as ``make demo``, the benchmarks and the tests start them."""

import sys

# fmt: off
_ARGUMENTS = {
    "web": ["-m", "gunicorn", "-c", "config/gunicorn.conf.py", "config.asgi"],
    "worker": ["-m", "celery", "-A", "workers.celery", "worker", "-l", "INFO", "--without-mingle", "--without-gossip"],
    "jobs": [
        "-m", "celery", "-A", "workers.jobs", "worker", "-Q", "evaluations,previews,deliveries",
        "--concurrency", "4", "-l", "INFO", "--without-mingle", "--without-gossip",
    ],
    "dispatcher": ["manage.py", "dispatcher"],
    "dimse": ["manage.py", "dimse_listener"],
}
# fmt: on
NAMES = tuple(_ARGUMENTS)
ENVIRONMENT = {
    # glibc returns each megabyte of an upload to the kernel and asks for it again page by page, unless told not to.
    "MALLOC_MMAP_THRESHOLD_": str(64 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 1024 * 1024),
    "MALLOC_ARENA_MAX": "2",
    # Many small matrices: BLAS threads would only get in each other's way.
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
"""What the processes want from the C libraries that they load; read when those start."""


def command(name: str, *more: str) -> list[str]:
    """The command line of a process, for the interpreter that runs this one."""
    return [sys.executable, *_ARGUMENTS[name], *more]
