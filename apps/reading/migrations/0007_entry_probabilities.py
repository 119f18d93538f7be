"""The probabilities of a study's findings stand in its row for lists: a filter by them then reads no finding.

The functions are those of ``0005_entries_follow`` with two columns more. The labels stand in the order of
`ml.labels.LABELS`; a label that is added there needs a migration that replaces ``reading_expected_entry``.
"""

import django.contrib.postgres.fields
from django.db import migrations, models

# A function that returns other columns must be made anew; its callers name the columns.
EXPECTED = """
drop function reading_expected_entry(uuid, uuid);
create function reading_expected_entry(of_tenant uuid, of_study uuid)
returns table (
    tenant_id uuid, study_id uuid, job_id uuid, status text, received timestamptz, study_date date,
    is_withdrawn boolean, in_conflict boolean, search_text text, flagged varchar[], urgent_label varchar,
    urgency smallint, margin float8, is_partly_read boolean, requested_priority smallint, report_status varchar,
    has_new_images boolean, news_at timestamptz, probabilities float8[], top_probability float8
)
language sql stable as $$
select s.tenant_id, s.id, j.id,
       case when j.id is null or j.state in ('queued', 'running') then 'waiting' else j.state end,
       s.received, s.study_date, s.withdrawn is not null,
       exists (
           select from studies_demographicsconflict c
            where c.tenant_id = s.tenant_id and c.study_id = s.id and c.settled is null
       ) or exists (
           select from studies_demographicsconflict c
            where c.tenant_id = s.tenant_id and c.patient_id = s.patient_id and c.settled is null
       ),
       concat_ws(
           ' ', coalesce(array_to_string(s.demographics_key[1:3], ' '), lower(s.patient_name)),
           lower(p.patient_id), lower(s.accession_number)
       ),
       coalesce(f.flagged, '{}'), coalesce(u.label, ''), u.place, u.margin,
       coalesce(j.state = 'complete' and (f.has_no_points or j.warnings @> '[{"code": "ai-stopped"}]'), false),
       coalesce((select max(x.priority) from inference_inferencejob x
                  where x.tenant_id = s.tenant_id and x.study_id = s.id), 0::smallint),
       coalesce(r.status, ''),
       coalesce(r.image_count < (
           select count(*) from studies_series e join studies_instance i on i.tenant_id = e.tenant_id and i.series_id = e.id
            where e.tenant_id = s.tenant_id and e.study_id = s.id and i.rows is not null and not i.is_held
       ), false),
       coalesce(j.finished, s.received),
       case when f.by_label is not null then array(
           select (f.by_label ->> l.label)::float8 from unnest('{Atelectasis,Cardiomegaly,Effusion,Infiltration,Mass,Nodule,Pneumonia,Pneumothorax,Consolidation,Edema,Emphysema,Fibrosis,Pleural_Thickening,Hernia}'::text[]) with ordinality l(label, place)
            order by l.place
       ) end,
       case when j.state = 'complete' then j.top_probability end
  from studies_study s
  join studies_patient p on p.tenant_id = s.tenant_id and p.id = s.patient_id
  left join lateral (
      select x.id, x.state, x.finished, x.warnings, x.top_probability from inference_inferencejob x
       where x.tenant_id = s.tenant_id and x.study_id = s.id order by x.id desc limit 1
  ) j on true
  left join lateral (
      select x.status, x.image_count from reports_report x
       where x.tenant_id = s.tenant_id and x.study_id = s.id order by x.number desc limit 1
  ) r on true
  left join lateral (
      select array_agg(x.label order by x.label) filter (where x.positive) as flagged,
             bool_and(x.threshold is null) as has_no_points, jsonb_object_agg(x.label, x.probability) as by_label
        from inference_finding x where x.tenant_id = s.tenant_id and x.job_id = j.id and j.state = 'complete'
  ) f on true
  left join lateral (
      select x.label, ranked.place,
             ln(least(greatest(x.probability, 1e-6), 1 - 1e-6) / (1 - least(greatest(x.probability, 1e-6), 1 - 1e-6)))
             - ln(least(greatest(x.threshold, 1e-6), 1 - 1e-6) / (1 - least(greatest(x.threshold, 1e-6), 1 - 1e-6)))
             as margin
        from inference_finding x
       cross join lateral (select coalesce(array_position(coalesce(
                 (select array(select jsonb_array_elements_text(q.urgency)) from reading_readingpolicy q
                   where q.tenant_id = s.tenant_id),
                 '{Pneumothorax,Consolidation,Pneumonia,Edema,Effusion,Mass,Nodule,Cardiomegaly,Atelectasis,Emphysema,Fibrosis,Pleural_Thickening,Infiltration,Hernia}'::text[]), x.label::text), 1000)::smallint as place) ranked
       where x.tenant_id = s.tenant_id and x.job_id = j.id and j.state = 'complete' and r.status is null
         and x.positive and x.threshold is not null
       order by ranked.place, x.label limit 1
  ) u on true
 where s.tenant_id = of_tenant and s.id = of_study
$$
"""

REFRESH = """
create or replace function reading_refresh_entry(of_tenant uuid, of_study uuid) returns void language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
begin
    perform from reading_worklistentry w where w.id = of_study for no key update;
    insert into reading_worklistentry as w (
        id, tenant_id, study_id, job_id, status, received, study_date, is_withdrawn, in_conflict, search_text, flagged,
        urgent_label, urgency, margin, is_partly_read, requested_priority, report_status, has_new_images, news_at,
        changed, probabilities, top_probability
    )
    select x.study_id, x.tenant_id, x.study_id, x.job_id, x.status, x.received, x.study_date, x.is_withdrawn,
           x.in_conflict, x.search_text, x.flagged, x.urgent_label, x.urgency, x.margin, x.is_partly_read,
           x.requested_priority, x.report_status, x.has_new_images, x.news_at, clock_timestamp(),
           x.probabilities, x.top_probability
      from reading_expected_entry(of_tenant, of_study) x
    on conflict (tenant_id, study_id) do update set (
        job_id, status, received, study_date, is_withdrawn, in_conflict, search_text, flagged, urgent_label, urgency,
        margin, is_partly_read, requested_priority, report_status, has_new_images, news_at, changed, probabilities,
        top_probability
    ) = (
        excluded.job_id, excluded.status, excluded.received, excluded.study_date, excluded.is_withdrawn,
        excluded.in_conflict, excluded.search_text, excluded.flagged, excluded.urgent_label, excluded.urgency,
        excluded.margin, excluded.is_partly_read, excluded.requested_priority, excluded.report_status,
        excluded.has_new_images, excluded.news_at, excluded.changed,
        excluded.probabilities, excluded.top_probability
    );
end
$$
"""

NEW_JOB = """
create or replace function reading_follow_new_job() returns trigger language plpgsql as $$
begin
    if new.state <> 'queued' then
        perform reading_refresh_entry(new.tenant_id, new.study_id);
    else
        update reading_worklistentry w
           set job_id = new.id, status = 'waiting', flagged = '{}', urgent_label = '', urgency = null, margin = null,
               is_partly_read = false, probabilities = null, top_probability = null, requested_priority = case
                   when w.job_id is null then new.priority else greatest(w.requested_priority, new.priority) end,
               news_at = w.received, changed = clock_timestamp()
         where w.id = new.study_id and (w.job_id is null or w.job_id < new.id);
    end if;
    return null;
end
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("reading", "0006_entries_filled")]

    operations = [
        migrations.AddField(
            model_name="worklistentry",
            name="probabilities",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.FloatField(null=True),
                help_text="Of the findings, in the order of `ml.labels.LABELS`.",
                null=True,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="worklistentry",
            name="top_probability",
            field=models.FloatField(help_text="That of the finding that the worklist names.", null=True),
        ),
        migrations.RunSQL(EXPECTED, migrations.RunSQL.noop),
        migrations.RunSQL(REFRESH, migrations.RunSQL.noop),
        migrations.RunSQL(NEW_JOB, migrations.RunSQL.noop),
    ]
