"""The default settings: services that the environment does not configure run embedded on this machine."""

from config import databases
from config.embedded import paths, valkey
from config.env import env_str
from config.settings.base import *  # noqa: F403

SECRET_KEY = env_str("SECRET_KEY") or paths.load_secrets().secret_key
ALLOWED_HOSTS = ALLOWED_HOSTS or ["localhost", "127.0.0.1", "[::1]"]  # noqa: F405
DATABASES = databases.external(env_str("DATABASE_URL")) if env_str("DATABASE_URL") else databases.embedded()
CELERY_BROKER_URL = env_str("REDIS_URL") or valkey.url()
