"""Django's admin app with our site. It is loaded before any model, so it has a module of its own."""

from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    default_site = "apps.accounts.admin_site.OperatorSite"
