"""Configures django.contrib.admin to use ConsoleSite.

Django loads it before any model, so it is a separate module.
"""

from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    default_site = "apps.portal.console.site.ConsoleSite"
