"""The rows of the studies that were there before the triggers."""

from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import ChangeInBatches

READ = (
    "studies_study", "studies_patient", "studies_series", "studies_instance", "studies_demographicsconflict",
    "inference_inferencejob", "inference_finding", "reports_report", "reading_readingpolicy",
)  # fmt: skip
FILL = """
insert into reading_worklistentry (
    id, tenant_id, study_id, job_id, status, received, study_date, is_withdrawn, in_conflict, search_text, flagged,
    urgent_label, urgency, margin, is_partly_read, requested_priority, report_status, has_new_images, news_at, changed
)
select x.study_id, x.tenant_id, x.study_id, x.job_id, x.status, x.received, x.study_date, x.is_withdrawn,
       x.in_conflict, x.search_text, x.flagged, x.urgent_label, x.urgency, x.margin, x.is_partly_read,
       x.requested_priority, x.report_status, x.has_new_images, x.news_at, now()
  from studies_study s cross join lateral reading_expected_entry(s.tenant_id, s.id) x
 where s.id = any(%(ids)s)
on conflict (tenant_id, study_id) do nothing
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("reading", "0005_entries_follow")]

    operations: ClassVar = [
        ChangeInBatches([*READ, "reading_worklistentry"], by="studies_study", statement=FILL),
    ]
