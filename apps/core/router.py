"""Database router. There is one database; its aliases are roles (``apps.tenants.roles``)."""

from typing import Any


class RoleRouter:
    """Reads and writes as the application's role by default; rows that different roles read may be related."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "default"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, *rows: Any, **hints: Any) -> bool:
        return True
