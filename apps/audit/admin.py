"""The console's pages for what operators did in it, and for refused sign-ins and keys.

The console does not show the audit trails of the tenants.
"""

from django.contrib import admin
from django.contrib.admin.models import LogEntry

from apps.audit.models import SecurityEvent
from apps.tenants.operator_admin import OperatorAdmin


@admin.register(LogEntry)
class LogEntryAdmin(OperatorAdmin):
    list_display = ("action_time", "user", "content_type", "object_repr", "message")
    fields = ("action_time", "user", "content_type", "object_repr", "message")
    list_select_related = ("user", "content_type")

    @admin.display(description="What")
    def message(self, entry: LogEntry) -> str:
        return str(entry)


@admin.register(SecurityEvent)
class SecurityEventAdmin(OperatorAdmin):
    list_display = ("at", "action", "user", "address", "amount")
    list_filter = ("action",)
    list_select_related = ("user",)
    search_fields = ("address", "user__email")
    search_help_text = "An address, or a person's e-mail."
    ordering = ("-at",)
