"""What the former pointer and the unnumbered ledger had, dropped."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("registry", "0006_pins_filled")]

    operations = [
        migrations.AlterField(
            model_name="activation",
            name="number",
            field=models.PositiveBigIntegerField(unique=True),
        ),
        migrations.AlterModelOptions(name="activation", options={"ordering": ["-number"]}),
        migrations.RemoveField(model_name="activation", name="is_rollback"),
        migrations.RemoveField(model_name="activation", name="slot"),
    ]
