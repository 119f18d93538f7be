"""A further way to choose an operating point: by a share of normal films that may be flagged."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("deployment", "0002_one_work_queue")]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="operatingpoint",
            name="strategy",
            field=models.CharField(
                choices=[
                    ("youden", "Largest sensitivity + specificity"),
                    ("sensitivity", "Fixed sensitivity"),
                    ("specificity", "Fixed specificity"),
                    ("alert_rate", "Fixed share of studies flagged"),
                    ("alarm_budget", "Fixed share of normal films flagged by any finding"),
                    ("manual", "Set by hand"),
                ],
                max_length=20,
            ),
        )
    ]
