"""The console's pages for tenants and users. Operators see memberships, invite, and end access.

They set no password, add no member and create no API key: each hospital's administrators do, in the portal.
"""

from apps.accounts.admin.people import UserAdmin
from apps.accounts.admin.tenants import TenantAdmin

__all__ = ["TenantAdmin", "UserAdmin"]
