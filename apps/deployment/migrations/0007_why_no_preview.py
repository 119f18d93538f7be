from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("deployment", "0006_drift")]

    operations: ClassVar = [
        migrations.AddField(model, "why_no_preview", models.TextField(blank=True, db_default="", default=""))
        for model in ("activation", "activationrequest")
    ]
