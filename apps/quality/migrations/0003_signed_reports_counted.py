"""The counted findings of the reports that were signed before they were counted; as `apps.quality.outcomes`.

They open no discordance: after an upgrade, the reports of years would wait for a review.
"""

from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import WithoutRowSecurity

FILL = """
insert into quality_countedfinding
       (id, tenant_id, study_id, report_id, model_version_id, label, flagged, outcome, probability, signed_at)
select gen_random_uuid(), r.tenant_id, r.study_id, r.id, j.model_version_id, l.label, coalesce(f.positive, false),
       case when f.id is null or l.verdict is null then case when f.positive then 'agreed' else 'added' end
            when l.verdict = 'agree' then case when l.is_added and not f.positive then 'added' else 'agreed' end
            when l.is_added or not f.positive then 'corrected'
            else 'disagreed' end,
       f.probability, r.signed_at
  from reports_report r
  join studies_study s on s.tenant_id = r.tenant_id and s.id = r.study_id and s.withdrawn is null
  join inference_inferencejob j on j.tenant_id = r.tenant_id and j.id = r.job_id and j.state = 'complete'
                               and j.model_version_id is not null
  cross join lateral (
      select x.label, max(x.verdict) as verdict, bool_or(x.verdict is null) as is_added
        from (select v.key as label, v.value as verdict from jsonb_each_text(r.verdicts) v
              union all
              select e ->> 'label', null from jsonb_array_elements(r.reader_findings) e where e ->> 'label' <> '') x
       group by x.label
  ) l
  left join inference_finding f on f.tenant_id = r.tenant_id and f.job_id = r.job_id and f.label = l.label
                               and f.threshold is not null
 where r.number = (select max(n.number) from reports_report n
                    where n.tenant_id = r.tenant_id and n.study_id = r.study_id)
   and (f.id is not null or l.is_added)
   and not exists (select from studies_instance i
                     join studies_imagerejection x on x.tenant_id = i.tenant_id
                      and x.sop_instance_uid = i.sop_instance_uid and x.withdrawn_at is null
                    where i.tenant_id = r.tenant_id and i.id = j.instance_id and x.study_id = r.study_id)
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("quality", "0002_tenant_isolation")]

    operations: ClassVar = [
        WithoutRowSecurity(
            [
                "reports_report", "studies_study", "studies_instance", "studies_imagerejection",
                "inference_inferencejob", "inference_finding", "quality_countedfinding",
            ],
            FILL,
        )
    ]  # fmt: skip
