"""The verdicts of reports that were signed before a report kept them: none changed since its signature."""

from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import WithoutRowSecurity

FILL = """
update reports_report r
   set verdicts = given.verdicts
  from (select f.tenant_id, f.job_id, jsonb_object_agg(f.label, w.verdict) as verdicts
          from reports_findingreview w
          join inference_finding f on f.tenant_id = w.tenant_id and f.id = w.finding_id
         group by f.tenant_id, f.job_id) given
 where given.tenant_id = r.tenant_id and given.job_id = r.job_id
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reports", "0006_reports_without_ai"), ("inference", "0008_how_the_image_was_read")]

    operations: ClassVar = [
        WithoutRowSecurity(["reports_report", "reports_findingreview", "inference_finding"], FILL),
    ]
