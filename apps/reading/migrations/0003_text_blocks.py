import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import apps.core.identifiers
import apps.reading.models
import apps.tenants.scope
from apps.tenants.rls import IsolateTenant


class Migration(migrations.Migration):
    dependencies = [
        ("reading", "0002_tenant_isolation"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="readingpolicy",
            name="time_zone",
            field=models.CharField(
                default=apps.reading.models.server_time_zone, max_length=64, verbose_name="Time zone"
            ),
        ),
        migrations.AlterField(
            model_name="readingpolicy",
            name="language",
            field=models.CharField(
                choices=[("en", "English"), ("de", "Deutsch"), ("es", "Español")],
                default="en",
                help_text="Of the reports, and of the pages of those who chose none for themselves.",
                max_length=5,
                verbose_name="Language",
            ),
        ),
        migrations.AlterField(
            model_name="readingpolicy",
            name="letterhead",
            field=models.TextField(
                blank=True,
                help_text="What stands at the top of each report, such as the name and address of the department.",
                max_length=500,
                verbose_name="Letterhead",
            ),
        ),
        migrations.CreateModel(
            name="TextBlock",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="What is typed after a full stop, such as normal for .normal and Tab.",
                        max_length=30,
                        verbose_name="Name",
                    ),
                ),
                ("text", models.TextField(max_length=4000, verbose_name="Text")),
                ("changed", models.DateTimeField(auto_now=True)),
                (
                    "owner",
                    models.ForeignKey(
                        help_text="Whose own text it is; empty for a text of all readers of the hospital.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
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
                "ordering": ["name"],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="reading_textblock_tenant_id_key"),
                    models.UniqueConstraint(
                        fields=("tenant", "owner", "name"), name="reading_one_text_of_a_name", nulls_distinct=False
                    ),
                ],
            },
        ),
        IsolateTenant("TextBlock"),
    ]
