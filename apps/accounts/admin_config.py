"""Configures django.contrib.admin to use OperatorSite.

Django loads it before any model, so it is a separate module.
"""

from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    default_site = "apps.accounts.admin_site.OperatorSite"
