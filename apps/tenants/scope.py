"""The tenant in force. It lasts exactly as long as one database transaction; outside it no row is visible."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from django.db import connection, transaction

_current: ContextVar[UUID | None] = ContextVar("tenant", default=None)


class TenantScopeError(RuntimeError):
    """The code used tenant rows while no tenant, or another one, was in force: a programming error."""


def current_tenant_id() -> UUID:
    tenant_id = _current.get()
    if tenant_id is None:
        raise TenantScopeError("No tenant is in force here: wrap the work in `with tenant_tx(tenant_id):`.")
    return tenant_id


@contextmanager
def tenant_tx(tenant_id: UUID) -> Iterator[None]:
    """One transaction in which the tenant's rows, and no others, exist.

    Nested for the same tenant it is a savepoint. PostgreSQL does not restore a setting when a savepoint is released,
    so a different tenant inside, or a first tenant inside a foreign transaction, is refused.
    """
    in_force = _current.get()
    if in_force is not None:
        if in_force != tenant_id:
            raise TenantScopeError("Another tenant is in force: leave its transaction first.")
        with transaction.atomic():
            yield
        return
    if connection.in_atomic_block:
        raise TenantScopeError("A transaction without a tenant is open: enter the tenant first.")
    with transaction.atomic():
        _enter(tenant_id)
        token = _current.set(tenant_id)
        try:
            yield
        finally:
            # Before the commit: its on_commit callbacks run when the tenant is no longer in force.
            _current.reset(token)


@contextmanager
def inside_tenant(tenant_id: UUID) -> Iterator[None]:
    """Put a tenant in force for some statements of a transaction that concerns several tenants.

    For example, an activation for the whole platform writes to the audit trail of each tenant. Afterwards the former
    tenant, or none, is in force again. An error inside must end the transaction, or its savepoint.
    """
    if not connection.in_atomic_block:
        raise TenantScopeError("No transaction is open: use `with tenant_tx(tenant_id):`.")
    before = _current.get()
    _enter(tenant_id)
    token = _current.set(tenant_id)
    try:
        yield
    finally:
        _current.reset(token)
    _enter(before)


def _enter(tenant_id: UUID | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select set_config('app.tenant', %s, true)", [str(tenant_id or "")])
