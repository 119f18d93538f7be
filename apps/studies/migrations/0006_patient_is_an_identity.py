"""Name, birth date and sex are kept with each study. After signed reports took over what they had printed."""

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("studies", "0005_demographics_conflicts"),
        ("reports", "0003_printed_demographics"),
    ]

    operations: ClassVar = [
        migrations.RemoveField(model_name="patient", name="patient_name"),
        migrations.RemoveField(model_name="patient", name="patient_birth_date"),
        migrations.RemoveField(model_name="patient", name="patient_sex"),
    ]
