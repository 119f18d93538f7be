"""Operators are no members; keys know who made them and when they were used last."""

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.tenants.rls import GrantColumns
from apps.tenants.roles import AUTH

# Row-level security is forced for the owner as well, who migrates: without this it would find no membership.
REMOVE_OPERATORS = """
alter table tenants_membership no force row level security;
delete from tenants_membership m using accounts_user u where u.id = m.user_id and u.is_staff;
alter table tenants_membership force row level security;
"""
# Foreign keys are checked past row-level security, so this holds for the memberships of every tenant.
NO_OPERATOR = """
alter table tenants_membership add constraint tenants_membership_no_operator_fk
    foreign key (user_id, user_is_staff) references accounts_user (id, is_staff)
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("tenants", "0003_sign_in_reads_keys"),
        ("accounts", "0002_operators_and_sessions"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            "ApiClient",
            "created_by",
            models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField("ApiClient", "last_used", models.DateTimeField(editable=False, null=True)),
        # By whom: the console names the keys of a person whose account is disabled, in whatever tenant.
        GrantColumns("ApiClient", AUTH, select=["created_by_id", "last_used"]),
        migrations.AddField(
            "Membership", "user_is_staff", models.BooleanField(db_default=False, default=False, editable=False)
        ),
        migrations.RunSQL(REMOVE_OPERATORS, migrations.RunSQL.noop),
        migrations.AddConstraint(
            "Membership",
            models.CheckConstraint(condition=models.Q(user_is_staff=False), name="tenants_membership_no_operator"),
        ),
        migrations.RunSQL(
            NO_OPERATOR, "alter table tenants_membership drop constraint tenants_membership_no_operator_fk"
        ),
    ]
