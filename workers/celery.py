"""The Celery application of the inference workers: ``celery -A workers.celery worker``."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")
django.setup()

from apps.core.queue import broker as app  # noqa: E402
from workers import tasks  # noqa: E402

__all__ = ["app", "tasks"]
