"""The embedded PostgreSQL and Valkey: used wherever ``DATABASE_URL`` or ``REDIS_URL`` is unset."""

from config.embedded.lifetime import keep_running, running_services

__all__ = ["keep_running", "running_services"]
