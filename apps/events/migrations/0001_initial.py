"""The models that this app took over from registry. Their tables stay as they are, so only the state changes."""

import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models

import apps.core.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0004_no_operator_is_a_member"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="WebhookEndpoint",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("url", models.CharField(max_length=2000, verbose_name="address")),
                        ("description", models.CharField(blank=True, max_length=200)),
                        ("is_enabled", models.BooleanField(default=True, verbose_name="enabled")),
                        ("types", models.JSONField(default=list, verbose_name="events")),
                        ("secret_number", models.PositiveIntegerField(default=1, editable=False)),
                        ("secret_made", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                        ("disabled_because", models.CharField(blank=True, editable=False, max_length=300)),
                        ("created", models.DateTimeField(auto_now_add=True)),
                    ],
                    options={
                        "db_table": "registry_webhookendpoint",
                        "ordering": ["created"],
                    },
                ),
                migrations.CreateModel(
                    name="ModelEvent",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        (
                            "type",
                            models.CharField(
                                choices=[
                                    ("model.registered", "Registered"),
                                    ("model.verified", "Verified"),
                                    ("model.gate_failed", "Gate failed"),
                                    ("model.activated", "Put into service"),
                                    ("model.rolled_back", "Rolled back"),
                                    ("model.unpinned", "Back to the platform's version"),
                                    ("model.retired", "Retired"),
                                ],
                                max_length=40,
                            ),
                        ),
                        (
                            "model_version_id",
                            models.UUIDField(db_index=True, help_text="Of the version that it happened to."),
                        ),
                        (
                            "line_id",
                            models.UUIDField(
                                help_text="Of the ledger entry, where there is one.", null=True, unique=True
                            ),
                        ),
                        ("data", models.JSONField()),
                        ("at", models.DateTimeField(default=django.utils.timezone.now)),
                        (
                            "for_tenant",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="tenants.tenant",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_modelevent",
                        "ordering": ["-id"],
                    },
                ),
                migrations.CreateModel(
                    name="WebhookDelivery",
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
                                choices=[("waiting", "Waits"), ("delivered", "Delivered"), ("dead", "Dead letter")],
                                default="waiting",
                                max_length=10,
                            ),
                        ),
                        ("attempts", models.PositiveIntegerField(default=0)),
                        (
                            "failures",
                            models.PositiveIntegerField(
                                default=0, help_text="In a row, since it was made or last sent again."
                            ),
                        ),
                        ("next_attempt", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ("held_until", models.DateTimeField(null=True)),
                        ("response_status", models.PositiveSmallIntegerField(null=True, verbose_name="last answer")),
                        ("reason", models.CharField(blank=True, max_length=300)),
                        ("created", models.DateTimeField(default=django.utils.timezone.now)),
                        ("finished", models.DateTimeField(null=True)),
                        (
                            "event",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="deliveries",
                                to="events.modelevent",
                            ),
                        ),
                        (
                            "endpoint",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="deliveries",
                                to="events.webhookendpoint",
                            ),
                        ),
                    ],
                    options={
                        "verbose_name_plural": "webhook deliveries",
                        "db_table": "registry_webhookdelivery",
                        "ordering": ["-id"],
                    },
                ),
                migrations.AddConstraint(
                    model_name="modelevent",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(("type__in", ["model.registered", "model.verified", "model.gate_failed"])),
                        fields=("model_version_id", "type"),
                        name="registry_said_once",
                    ),
                ),
                migrations.AddIndex(
                    model_name="webhookdelivery",
                    index=models.Index(
                        condition=models.Q(("state", "waiting")),
                        fields=["next_attempt"],
                        name="registry_deliveries_due",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="webhookdelivery",
                    constraint=models.UniqueConstraint(
                        fields=("endpoint", "event"), name="registry_one_delivery_of_an_event"
                    ),
                ),
            ],
        ),
    ]
