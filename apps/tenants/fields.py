"""Foreign keys that cannot leave the tenant."""

from typing import Any

from django.db import models


class TenantForeignKey(models.ForeignKey):
    """A foreign key whose database constraint is the composite ``(tenant_id, x_id) -> x (tenant_id, id)``.

    A plain foreign key to another tenant's row is accepted under row-level security, since referential checks run
    past it. The constraint and its index are made by ``apps.tenants.rls.IsolateTenant``.
    """

    def __init__(self, to: Any, on_delete: Any, **kwargs: Any) -> None:
        kwargs["db_constraint"] = False
        kwargs["db_index"] = False
        super().__init__(to, on_delete, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["db_constraint"]
        kwargs.pop("db_index", None)
        return name, path, args, kwargs
