import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import apps.core.identifiers
import apps.routing.rule_models
import apps.tenants.fields
import apps.tenants.scope
from apps.tenants.rls import AppendOnly, IsolateTenant


class Migration(migrations.Migration):
    dependencies = [
        ("routing", "0005_peers_in_both_directions"),
        ("studies", "0010_query_indexes"),
        ("tenants", "0007_private_networks"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="IntakePolicy",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                (
                    "rules",
                    models.JSONField(
                        default=apps.routing.rule_models.no_rules,
                        help_text="In their order, as `apps.routing.rules.Rule.to_dict`.",
                    ),
                ),
                (
                    "quiet_seconds",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="A study is read when no image of it has arrived for this time. 0: it is read at once.",
                        verbose_name="Quiet time in seconds",
                    ),
                ),
                (
                    "longest_wait_minutes",
                    models.PositiveIntegerField(
                        default=15,
                        help_text="So long after its first image the study is read, even while more images arrive.",
                        verbose_name="Longest wait in minutes",
                    ),
                ),
                ("created", models.DateTimeField(auto_now_add=True)),
                (
                    "restored_from",
                    models.PositiveIntegerField(
                        help_text="The number of the version that this one repeats.", null=True
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-number"],
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="routing_intakepolicy_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "number"), name="routing_one_policy_of_number"),
                ],
            },
        ),
        migrations.CreateModel(
            name="RuleMatch",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("rule_id", models.UUIDField()),
                ("rule_name", models.CharField(max_length=60)),
                ("policy", models.PositiveIntegerField(help_text="The number of the version of the rules.")),
                (
                    "action",
                    models.CharField(
                        choices=[("read", "Read"), ("store", "Store only"), ("refuse", "Refuse")], max_length=10
                    ),
                ),
                (
                    "destinations",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(),
                        default=list,
                        help_text="Where the study's results go.",
                        size=None,
                    ),
                ),
                (
                    "released",
                    models.DateTimeField(help_text="When a person had the image read all the same.", null=True),
                ),
                (
                    "instance",
                    apps.tenants.fields.TenantForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="studies.instance"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "indexes": [
                    models.Index(
                        condition=models.Q(("action", "store"), ("released", None)),
                        fields=["tenant", "rule_id"],
                        name="routing_match_kept_back",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="routing_rulematch_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "instance"), name="routing_one_match_of_instance"),
                ],
            },
        ),
        migrations.CreateModel(
            name="RuleRefusals",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("rule_id", models.UUIDField()),
                ("rule_name", models.CharField(max_length=60)),
                ("amount", models.PositiveBigIntegerField(default=0)),
                ("first", models.DateTimeField()),
                ("last", models.DateTimeField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="routing_rulerefusals_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "rule_id"), name="routing_refusals_once_per_rule"),
                ],
            },
        ),
        IsolateTenant("IntakePolicy"),
        AppendOnly("IntakePolicy"),
        IsolateTenant("RuleMatch"),
        IsolateTenant("RuleRefusals"),
    ]
