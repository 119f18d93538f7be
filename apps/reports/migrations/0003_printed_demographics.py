"""What each signed report says of its patient: until now, the row of the patient, which never changed."""

from typing import ClassVar

from django.db import migrations, models

from apps.tenants.rls import WithoutRowSecurity

FILL = """
update reports_report r
   set printed = jsonb_build_object(
           'name', p.patient_name, 'patient_id', p.patient_id, 'issuer', p.issuer_of_patient_id,
           'birth_date', p.patient_birth_date, 'sex', p.patient_sex
       )
  from studies_study s join studies_patient p on p.tenant_id = s.tenant_id and p.id = s.patient_id
 where r.tenant_id = s.tenant_id and r.study_id = s.id and r.status <> 'preliminary'
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("reports", "0002_tenant_isolation"),
        ("studies", "0005_demographics_conflicts"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="report",
            name="printed",
            field=models.JSONField(
                help_text="The patient's identity and demographics as the signed PDF says them; null before a signature.",
                null=True,
            ),
        ),
        WithoutRowSecurity(["reports_report", "studies_study", "studies_patient"], FILL),
    ]
