from django.apps import AppConfig
from django.db.backends.signals import connection_created

from apps.tenants.checks import limit_assumed_role, refuse_unsafe_role


class TenantsConfig(AppConfig):
    name = "apps.tenants"
    label = "tenants"

    def ready(self) -> None:
        connection_created.connect(refuse_unsafe_role, dispatch_uid="tenants.refuse_unsafe_role")
        connection_created.connect(limit_assumed_role, dispatch_uid="tenants.limit_assumed_role")
