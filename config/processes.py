"""The command lines and the environment of the processes of one machine, for ``make demo``, benchmarks and tests."""

import sys

# fmt: off
_ARGUMENTS = {
    "web": ["-m", "gunicorn", "-c", "config/gunicorn.conf.py", "config.asgi"],
    "worker": ["-m", "celery", "-A", "workers.celery", "worker", "-l", "INFO", "--without-mingle", "--without-gossip"],
    "jobs": [
        "-m", "celery", "-A", "workers.jobs", "worker",
        "-Q", "evaluations,previews,deliveries,results,sending,commitments",
        "--concurrency", "4", "-l", "INFO", "--without-mingle", "--without-gossip",
    ],
    "dispatcher": ["manage.py", "dispatcher"],
    "dimse": ["manage.py", "dimse_listener"],
}
# fmt: on
NAMES = tuple(_ARGUMENTS)
ENVIRONMENT = {
    # By default glibc returns each megabyte of an upload to the kernel and gets it again page by page.
    "MALLOC_MMAP_THRESHOLD_": str(64 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 1024 * 1024),
    "MALLOC_ARENA_MAX": "2",
    # The matrices are small: more BLAS threads would make them slower.
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Variables for the C libraries of the processes; the libraries read them when they are loaded."""


def command(name: str, *more: str) -> list[str]:
    """The command line of a process, for the interpreter that runs this one."""
    return [sys.executable, *_ARGUMENTS[name], *more]
