"""The models that this app took over from registry. Their tables stay as they are, so only the state changes."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import apps.core.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("registry", "0019_requests_that_replace"),
        ("tenants", "0004_no_operator_is_a_member"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="Activation",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("number", models.PositiveBigIntegerField(unique=True)),
                        (
                            "act",
                            models.CharField(
                                choices=[
                                    ("activated", "Put into service"),
                                    ("rolled-back", "Rolled back"),
                                    ("unpinned", "Back to the platform's version"),
                                    ("points", "Operating points changed"),
                                    ("retired", "Retired"),
                                    ("shadow", "Shadow started"),
                                    ("canary", "Canary started or changed"),
                                    ("challenge-ended", "Challenger ended"),
                                ],
                                default="activated",
                                max_length=20,
                            ),
                        ),
                        ("thresholds", models.JSONField()),
                        ("points_before", models.JSONField(default=dict)),
                        ("points_after", models.JSONField(default=dict)),
                        (
                            "previews",
                            models.JSONField(
                                default=dict, help_text="{tenant id: SHA-256} of the previews that were current."
                            ),
                        ),
                        (
                            "percent",
                            models.PositiveSmallIntegerField(help_text="A canary's share of the studies.", null=True),
                        ),
                        ("despite_gates", models.JSONField(default=list)),
                        (
                            "own_before",
                            models.BooleanField(help_text="Whether the tenant was pinned before.", null=True),
                        ),
                        ("actor", models.CharField(max_length=100)),
                        ("reason", models.TextField(blank=True)),
                        ("at", models.DateTimeField(auto_now_add=True)),
                        (
                            "by",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                        (
                            "for_tenant",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="tenants.tenant",
                            ),
                        ),
                        (
                            "from_version",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                        (
                            "second",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                                verbose_name="second approver",
                            ),
                        ),
                        (
                            "to_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                        (
                            "undoes",
                            models.ForeignKey(
                                help_text="What a rollback took back.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="deployment.activation",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_activation",
                        "ordering": ["-number"],
                    },
                ),
                migrations.CreateModel(
                    name="ActivationRequest",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        (
                            "percent",
                            models.PositiveSmallIntegerField(
                                help_text="A canary's share; empty: the whole service.", null=True
                            ),
                        ),
                        ("keeps_points", models.BooleanField()),
                        ("despite_gate", models.BooleanField(default=False)),
                        ("actor", models.CharField(max_length=100)),
                        ("reason", models.TextField(blank=True)),
                        ("at", models.DateTimeField(auto_now_add=True)),
                        ("withdrawn", models.DateTimeField(null=True)),
                        (
                            "by",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                        (
                            "for_tenant",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="tenants.tenant",
                            ),
                        ),
                        (
                            "from_version",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                        (
                            "line",
                            models.OneToOneField(
                                editable=False,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="request",
                                to="deployment.activation",
                            ),
                        ),
                        (
                            "replaces",
                            models.OneToOneField(
                                editable=False,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="replaced_by",
                                to="deployment.activationrequest",
                            ),
                        ),
                        (
                            "to_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_activationrequest",
                        "ordering": ["-id"],
                    },
                ),
                migrations.CreateModel(
                    name="SwitchPreview",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("studies", models.PositiveIntegerField()),
                        ("report_json", models.TextField()),
                        ("sha256", models.CharField(max_length=64)),
                        ("actor", models.CharField(max_length=100)),
                        ("at", models.DateTimeField(auto_now_add=True)),
                        (
                            "for_tenant",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
                            ),
                        ),
                        (
                            "from_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                        (
                            "to_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_switchpreview",
                        "ordering": ["-id"],
                    },
                ),
                migrations.CreateModel(
                    name="Challenger",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("mode", models.CharField(choices=[("shadow", "Shadow"), ("canary", "Canary")], max_length=10)),
                        (
                            "percent",
                            models.PositiveSmallIntegerField(
                                help_text="The share of studies that a canary reads.", null=True
                            ),
                        ),
                        ("keeps_points", models.BooleanField()),
                        ("since", models.DateTimeField(auto_now_add=True)),
                        ("actor", models.CharField(max_length=100)),
                        ("reason", models.TextField(blank=True)),
                        ("ended", models.DateTimeField(null=True)),
                        (
                            "against",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                        (
                            "for_tenant",
                            models.ForeignKey(
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="tenants.tenant",
                            ),
                        ),
                        (
                            "model_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_challenger",
                        "ordering": ["-id"],
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("ended", None)),
                                fields=("for_tenant",),
                                name="registry_one_challenger_for_each",
                                nulls_distinct=False,
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    models.Q(("mode", "shadow"), ("percent", None)),
                                    models.Q(("mode", "canary"), ("percent__gte", 1), ("percent__lte", 99)),
                                    _connector="OR",
                                ),
                                name="registry_canary_has_a_share",
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Deployment",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("since", models.DateTimeField(auto_now=True)),
                        (
                            "for_tenant",
                            models.ForeignKey(
                                db_index=False,
                                help_text="Empty: every tenant that is not pinned.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="tenants.tenant",
                            ),
                        ),
                        (
                            "model_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_deployment",
                        "constraints": [
                            models.UniqueConstraint(
                                fields=("for_tenant",), name="registry_one_deployment_for_each", nulls_distinct=False
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Offer",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("actor", models.CharField(editable=False, max_length=100)),
                        ("at", models.DateTimeField(auto_now_add=True)),
                        (
                            "for_tenant",
                            models.ForeignKey(
                                blank=True,
                                help_text="Empty: every tenant.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="tenants.tenant",
                            ),
                        ),
                        (
                            "model_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_offer",
                        "ordering": ["-id"],
                        "constraints": [
                            models.UniqueConstraint(
                                fields=("model_version", "for_tenant"),
                                name="registry_one_offer_for_each",
                                nulls_distinct=False,
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="OperatingPoint",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("label", models.CharField(max_length=40)),
                        ("value", models.FloatField()),
                        (
                            "strategy",
                            models.CharField(
                                choices=[
                                    ("youden", "Largest sensitivity + specificity"),
                                    ("sensitivity", "Fixed sensitivity"),
                                    ("specificity", "Fixed specificity"),
                                    ("alert_rate", "Fixed share of studies flagged"),
                                    ("manual", "Set by hand"),
                                ],
                                max_length=20,
                            ),
                        ),
                        (
                            "target",
                            models.FloatField(
                                help_text="The sensitivity, specificity or share that was asked for.", null=True
                            ),
                        ),
                        ("reason", models.TextField(blank=True)),
                        ("actor", models.CharField(max_length=100)),
                        ("at", models.DateTimeField(auto_now=True)),
                        (
                            "for_tenant",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="tenants.tenant",
                            ),
                        ),
                        (
                            "model_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="registry.modelversion",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_operatingpoint",
                        "ordering": ["label"],
                        "constraints": [
                            models.UniqueConstraint(
                                fields=("for_tenant", "model_version", "label"), name="registry_one_operating_point"
                            ),
                            models.CheckConstraint(
                                condition=models.Q(("value__gt", 0.0), ("value__lt", 1.0)),
                                name="registry_operating_point_is_a_probability",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    models.Q(("strategy", "manual"), _negated=True),
                                    models.Q(("reason", ""), _negated=True),
                                    _connector="OR",
                                ),
                                name="registry_manual_operating_point_has_a_reason",
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="PreviewJob",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("waiting", "Waits"),
                                    ("running", "Runs"),
                                    ("complete", "Complete"),
                                    ("refused", "Refused"),
                                    ("failed", "Failed"),
                                ],
                                default="waiting",
                                max_length=10,
                            ),
                        ),
                        ("attempts", models.PositiveIntegerField(default=0)),
                        ("fence", models.PositiveIntegerField(default=0)),
                        ("worker", models.CharField(blank=True, max_length=200)),
                        ("not_before", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ("lease_expires", models.DateTimeField(null=True)),
                        ("reason", models.TextField(blank=True)),
                        ("created", models.DateTimeField(auto_now_add=True)),
                        ("finished", models.DateTimeField(null=True)),
                        ("last", models.PositiveIntegerField(verbose_name="studies")),
                        ("actor", models.CharField(max_length=100)),
                        ("done", models.PositiveIntegerField(default=0)),
                        ("of", models.PositiveIntegerField(default=0)),
                        (
                            "for_tenant",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
                            ),
                        ),
                        (
                            "model_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="preview_jobs",
                                to="registry.modelversion",
                            ),
                        ),
                        (
                            "preview",
                            models.OneToOneField(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="job",
                                to="deployment.switchpreview",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_previewjob",
                        "ordering": ["-id"],
                        "abstract": False,
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("state__in", ["waiting", "running"])),
                                fields=("for_tenant", "model_version"),
                                name="registry_one_open_preview",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    models.Q(("state", "complete"), _negated=True),
                                    ("preview__isnull", False),
                                    _connector="OR",
                                ),
                                name="registry_complete_preview_has_counts",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    models.Q(("state__in", ["refused", "failed"]), _negated=True),
                                    models.Q(("reason", ""), _negated=True),
                                    _connector="OR",
                                ),
                                name="registry_ended_preview_has_a_reason",
                            ),
                        ],
                    },
                ),
            ],
        ),
    ]
