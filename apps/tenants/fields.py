"""Foreign keys that can only refer to rows of the same tenant."""

from typing import Any

from django.db import models


class TenantForeignKey(models.ForeignKey):
    """A foreign key whose database constraint is the composite ``(tenant_id, x_id) -> x (tenant_id, id)``.

    A plain foreign key could refer to another tenant's row, since PostgreSQL's referential checks bypass row-level
    security. ``apps.tenants.rls.IsolateTenant`` makes the constraint and its index.
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
