"""The Celery application of the inference workers: ``celery -A workers.celery worker``."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")
django.setup()

from apps.core.wake_up import broker as app  # noqa: E402
from apps.tenants.checks import require_safe_start  # noqa: E402
from workers import tasks  # noqa: E402

# Not in a Celery signal handler: Celery would only log its exception, and start the worker.
require_safe_start()

__all__ = ["app", "tasks"]
