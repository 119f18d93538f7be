"""The console's pages about tenants and people. Operators see who works where, invite, and end access.

They set no password, make no member and issue no key: each hospital's administrators do, in the portal.
"""

from apps.accounts.admin.people import UserAdmin
from apps.accounts.admin.tenants import TenantAdmin

__all__ = ["TenantAdmin", "UserAdmin"]
