"""The embedded PostgreSQL and Valkey: used wherever ``DATABASE_URL`` or ``REDIS_URL`` is unset."""

from config.embedded.lifetime import running_services

__all__ = ["running_services"]
