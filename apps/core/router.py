"""There is one database; its aliases are roles (``apps.tenants.roles``)."""

from typing import Any


class RoleRouter:
    """A row read as one role may be related to, and saved as, any other: by default as the application's."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "default"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, *rows: Any, **hints: Any) -> bool:
        return True
