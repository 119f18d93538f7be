"""ShadowReading refers to a model that changed its app; its column stays as it is."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("deployment", "0001_initial"),
        ("inference", "0008_how_the_image_was_read"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="shadowreading",
                    name="challenger",
                    field=models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="deployment.challenger"
                    ),
                ),
            ],
        ),
    ]
