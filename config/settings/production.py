"""Production settings: no embedded services and no defaults; a missing or weak value stops the process."""

from django.core.exceptions import ImproperlyConfigured

from config import databases
from config.env import env_bool, env_str
from config.settings.base import *  # noqa: F403

_SHORTEST_SECRET_KEY = 32


def _required(name: str) -> str:
    value = env_str(name)
    if not value:
        raise ImproperlyConfigured(f"Set {name} (or {name}_FILE): production starts nothing by default.")
    return value


SECRET_KEY = _required("SECRET_KEY")
if len(SECRET_KEY) < _SHORTEST_SECRET_KEY:
    raise ImproperlyConfigured(f"SECRET_KEY must have at least {_SHORTEST_SECRET_KEY} characters.")
_required("ALLOWED_HOSTS")
_required("S3_BUCKET")
DATABASES = databases.external(_required("DATABASE_URL"))
CELERY_BROKER_URL = _required("REDIS_URL")

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = env_bool("SECURE_SSL_REDIRECT", True)
SECURE_REDIRECT_EXEMPT = [r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SESSION_COOKIE_NAME = "__Host-sessionid"
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_NAME = "__Host-csrftoken"
CSRF_COOKIE_SECURE = True
