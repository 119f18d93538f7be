from typing import ClassVar

from django.db import migrations, models

from apps.tenants.rls import GrantColumns
from apps.tenants.roles import AUTH


class Migration(migrations.Migration):
    dependencies: ClassVar = [("routing", "0004_destinations_isolated")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="peer",
            name="host",
            field=models.CharField(blank=True, db_default="", default="", max_length=253),
        ),
        migrations.AddField(
            model_name="peer",
            name="is_send_only",
            field=models.BooleanField(db_default=True, default=False),
        ),
        migrations.AddField(
            model_name="peer",
            name="last_problem",
            field=models.CharField(blank=True, db_default="", default="", max_length=30),
        ),
        migrations.AddField(
            model_name="peer",
            name="last_problem_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="peer",
            name="last_reached",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="peer",
            name="port",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="peer",
            name="tls",
            field=models.BooleanField(db_default=False, default=False, verbose_name="TLS"),
        ),
        migrations.AddConstraint(
            model_name="peer",
            constraint=models.UniqueConstraint(
                condition=models.Q(("host", ""), _negated=True),
                fields=("tenant", "ae_title"),
                name="routing_one_host_per_ae_title",
            ),
        ),
        # A caller is looked up before a tenant is in force.
        GrantColumns("Peer", AUTH, select=["is_send_only"]),
    ]
