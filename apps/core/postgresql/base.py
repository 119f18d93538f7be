"""Django's PostgreSQL backend with a health check that costs no round trip, and with deadlines."""

import select
from typing import Any

from django.db.backends.postgresql import base

from apps.core.postgresql.deadlines import DeadlineConnection


class DatabaseWrapper(base.DatabaseWrapper):
    """``DATABASES`` may have two more keys.

    ``ANSWER_SECONDS`` bounds each statement on this side. ``SERVER_LIMITS`` are PostgreSQL settings for connections
    that assume their role: those of the role itself hold only where the role logs in.
    """

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "connection_factory": DeadlineConnection}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        connection.answer_seconds = self.settings_dict.get("ANSWER_SECONDS")
        return connection

    def _configure_role(self, connection: Any) -> Any:
        changed = super()._configure_role(connection)  # type: ignore[misc]
        limits = self.settings_dict.get("SERVER_LIMITS") or {}
        if changed and limits:
            with connection.cursor() as cursor:
                sets = ", ".join(["set_config(%s, %s, false)"] * len(limits))
                cursor.execute(f"select {sets}", [each for limit in limits.items() for each in limit])
        return changed

    def is_usable(self) -> bool:
        """Whether the server still holds the other end.

        A connection at rest has nothing to read; one that the server, a pooler or the network closed does.
        """
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0)
