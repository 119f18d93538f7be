"""The Celery application of the inference workers: ``celery -A workers.celery worker``."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")
django.setup()

from apps.core.wake_up import broker as app  # noqa: E402
from apps.tenants.checks import require_safe_start  # noqa: E402
from workers import tasks  # noqa: E402

# Here and not in a Celery signal: an exception there would be logged, and the worker would go on.
require_safe_start()

__all__ = ["app", "tasks"]
