"""Settings for `benchmarks.wake_ups`: Celery closes the worker's database connections around each message."""

from config.settings.embedded import *  # noqa: F403

CELERY_DB_REUSE_MAX = 0
