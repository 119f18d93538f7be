from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0003_predict"),
    ]

    operations = [
        migrations.AlterField(
            model_name="auditevent",
            name="action",
            field=models.CharField(
                choices=[
                    ("instance.stored", "Instance stored"),
                    ("study.viewed", "Study viewed"),
                    ("report.read", "Report read"),
                    ("finding.reviewed", "Finding reviewed"),
                    ("report.signed", "Report signed"),
                    ("images.predicted", "Images read and not stored"),
                    ("operating-points.changed", "Operating points changed"),
                    ("user.signed-in", "User signed in"),
                ],
                max_length=40,
            ),
        ),
    ]
