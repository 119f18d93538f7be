import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models

import apps.core.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("registry", "0011_evaluation_sets"),
        ("tenants", "0003_sign_in_reads_keys"),
    ]

    operations = [
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
                ("data", models.JSONField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "for_tenant",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
                    ),
                ),
                (
                    "line",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="event",
                        to="registry.activation",
                    ),
                ),
                (
                    "model_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="events", to="registry.modelversion"
                    ),
                ),
            ],
            options={
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
                    models.PositiveIntegerField(default=0, help_text="In a row, since it was made or last sent again."),
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
                        to="registry.modelevent",
                    ),
                ),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="registry.webhookendpoint",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "webhook deliveries",
                "ordering": ["-id"],
            },
        ),
        migrations.AddConstraint(
            model_name="modelevent",
            constraint=models.UniqueConstraint(
                condition=models.Q(("type__in", ["model.registered", "model.verified", "model.gate_failed"])),
                fields=("model_version", "type"),
                name="registry_said_once",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["next_attempt"], name="registry_deliveries_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="webhookdelivery",
            constraint=models.UniqueConstraint(fields=("endpoint", "event"), name="registry_one_delivery_of_an_event"),
        ),
    ]
