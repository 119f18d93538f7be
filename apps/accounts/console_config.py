"""Django's admin app with our site. It is loaded before any model, so it stands alone."""

from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    default_site = "apps.accounts.console.OperatorSite"
