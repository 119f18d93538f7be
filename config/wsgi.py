"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import resolve

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")

application = get_wsgi_application()

from apps.tenants.checks import require_safe_start  # noqa: E402

require_safe_start()
# Imports every view now, so that the first request does not wait for it.
resolve("/healthz")
