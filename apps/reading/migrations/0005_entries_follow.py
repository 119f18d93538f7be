"""Triggers keep the row of each study for lists, in the transaction that changes what it is made of.

Not services: rows of jobs and instances are written by SQL functions, by bulk updates, by the dispatcher's role, and
during an upgrade by processes of the former release, which know nothing of these rows.
"""

from typing import ClassVar

from django.db import migrations

# What the row of a study must be. The SQL is inlined into the statement that calls it; a view would stop later
# migrations from changing the columns that it names.
# The margin is a difference of logits: how many times the odds are above those of the operating point, whatever that
# is. A difference of probabilities would be small wherever the operating point is. The order of urgency stands here for
# tenants without a policy, as `apps.reading.models.URGENCY`.
EXPECTED = """
create function reading_expected_entry(of_tenant uuid, of_study uuid)
returns table (
    tenant_id uuid, study_id uuid, job_id uuid, status text, received timestamptz, study_date date,
    is_withdrawn boolean, in_conflict boolean, search_text text, flagged varchar[], urgent_label varchar,
    urgency smallint, margin float8, is_partly_read boolean, requested_priority smallint, report_status varchar,
    has_new_images boolean, news_at timestamptz
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
       coalesce(j.finished, s.received)
  from studies_study s
  join studies_patient p on p.tenant_id = s.tenant_id and p.id = s.patient_id
  left join lateral (
      select x.id, x.state, x.finished, x.warnings from inference_inferencejob x
       where x.tenant_id = s.tenant_id and x.study_id = s.id order by x.id desc limit 1
  ) j on true
  left join lateral (
      select x.status, x.image_count from reports_report x
       where x.tenant_id = s.tenant_id and x.study_id = s.id order by x.number desc limit 1
  ) r on true
  left join lateral (
      select array_agg(x.label order by x.label) filter (where x.positive) as flagged,
             bool_and(x.threshold is null) as has_no_points
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

# The lock comes first, in a statement of its own: what is read after it includes what the last holder wrote.
# One plan for a session, without sequential scans, because it is kept from when the tables were small.
REFRESH = """
create function reading_refresh_entry(of_tenant uuid, of_study uuid) returns void language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
begin
    perform from reading_worklistentry w where w.id = of_study for no key update;
    insert into reading_worklistentry as w (
        id, tenant_id, study_id, job_id, status, received, study_date, is_withdrawn, in_conflict, search_text, flagged,
        urgent_label, urgency, margin, is_partly_read, requested_priority, report_status, has_new_images, news_at,
        changed
    )
    select x.study_id, x.tenant_id, x.study_id, x.job_id, x.status, x.received, x.study_date, x.is_withdrawn,
           x.in_conflict, x.search_text, x.flagged, x.urgent_label, x.urgency, x.margin, x.is_partly_read,
           x.requested_priority, x.report_status, x.has_new_images, x.news_at, clock_timestamp()
      from reading_expected_entry(of_tenant, of_study) x
    on conflict (tenant_id, study_id) do update set (
        job_id, status, received, study_date, is_withdrawn, in_conflict, search_text, flagged, urgent_label, urgency,
        margin, is_partly_read, requested_priority, report_status, has_new_images, news_at, changed
    ) = (
        excluded.job_id, excluded.status, excluded.received, excluded.study_date, excluded.is_withdrawn,
        excluded.in_conflict, excluded.search_text, excluded.flagged, excluded.urgent_label, excluded.urgency,
        excluded.margin, excluded.is_partly_read, excluded.requested_priority, excluded.report_status,
        excluded.has_new_images, excluded.news_at, excluded.changed
    );
end
$$
"""

FOLLOW = """
create function reading_follow_study() returns trigger language plpgsql as $$
begin
    perform reading_refresh_entry(new.tenant_id, new.id);
    return null;
end
$$;

-- The two that come with every film, study and job, are written without looking at all that a row is made of.
create function reading_follow_new_study() returns trigger language plpgsql as $$
begin
    insert into reading_worklistentry (
        id, tenant_id, study_id, received, study_date, is_withdrawn, in_conflict, search_text, news_at, changed
    )
    values (
        new.id, new.tenant_id, new.id, new.received, new.study_date, new.withdrawn is not null,
        exists (select from studies_demographicsconflict c
                 where c.tenant_id = new.tenant_id and c.patient_id = new.patient_id and c.settled is null),
        concat_ws(
            ' ', coalesce(array_to_string(new.demographics_key[1:3], ' '), lower(new.patient_name)),
            (select lower(p.patient_id) from studies_patient p where p.id = new.patient_id), lower(new.accession_number)
        ),
        new.received, clock_timestamp()
    );
    return null;
end
$$;

create function reading_follow_new_job() returns trigger language plpgsql as $$
begin
    if new.state <> 'queued' then
        perform reading_refresh_entry(new.tenant_id, new.study_id);
    else
        update reading_worklistentry w
           set job_id = new.id, status = 'waiting', flagged = '{}', urgent_label = '', urgency = null, margin = null,
               is_partly_read = false, requested_priority = case
                   when w.job_id is null then new.priority else greatest(w.requested_priority, new.priority) end,
               news_at = w.received, changed = clock_timestamp()
         where w.id = new.study_id and (w.job_id is null or w.job_id < new.id);
    end if;
    return null;
end
$$;

-- The dispatcher's role ends a job that failed, and may not read what else the row is made of. Nothing else changes then.
create function reading_follow_job() returns trigger language plpgsql as $$
begin
    if new.state = 'failed' then
        update reading_worklistentry w set status = 'failed', news_at = new.finished, changed = clock_timestamp()
         where w.tenant_id = new.tenant_id and w.study_id = new.study_id and w.job_id = new.id;
    else
        perform reading_refresh_entry(new.tenant_id, new.study_id);
    end if;
    return null;
end
$$;

create function reading_follow_report() returns trigger language plpgsql as $$
begin
    perform reading_refresh_entry(new.tenant_id, new.study_id);
    return null;
end
$$;

-- Images matter to the row only after a signature.
create function reading_follow_instance() returns trigger language plpgsql as $$
begin
    perform reading_refresh_entry(w.tenant_id, w.study_id)
       from studies_series e join reading_worklistentry w on w.tenant_id = e.tenant_id and w.study_id = e.study_id
      where e.tenant_id = new.tenant_id and e.id = new.series_id and w.report_status <> '';
    return null;
end
$$;

create function reading_follow_conflict() returns trigger language plpgsql as $$
begin
    perform reading_refresh_entry(s.tenant_id, s.id)
       from (select x.tenant_id, x.id from studies_study x
              where x.tenant_id = new.tenant_id and (x.id = new.study_id or x.patient_id = new.patient_id)
              order by x.id) s;
    return null;
end
$$;

create function reading_follow_policy() returns trigger language plpgsql as $$
begin
    perform reading_refresh_entry(s.tenant_id, s.study_id)
       from (select x.tenant_id, x.study_id from reading_worklistentry x
              where x.tenant_id = new.tenant_id and x.report_status = '' and x.flagged <> '{}' order by x.study_id) s;
    return null;
end
$$;

create trigger reading_new_study after insert on studies_study
    for each row execute function reading_follow_new_study();
create trigger reading_changed_study after update on studies_study for each row
    when ((old.patient_id, old.demographics_key, old.patient_name, old.accession_number, old.study_date, old.received,
           old.withdrawn)
          is distinct from
          (new.patient_id, new.demographics_key, new.patient_name, new.accession_number, new.study_date, new.received,
           new.withdrawn))
    execute function reading_follow_study();
create trigger reading_new_job after insert on inference_inferencejob
    for each row execute function reading_follow_new_job();
create trigger reading_changed_job after update on inference_inferencejob for each row
    when (old.priority <> new.priority
          or (old.state <> new.state and not (old.state in ('queued', 'running') and new.state in ('queued', 'running'))))
    execute function reading_follow_job();
create trigger reading_new_report after insert on reports_report
    for each row execute function reading_follow_report();
create trigger reading_new_instance after insert on studies_instance
    for each row when (new.rows is not null) execute function reading_follow_instance();
create trigger reading_changed_instance after update on studies_instance
    for each row when (old.is_held <> new.is_held or old.series_id <> new.series_id)
    execute function reading_follow_instance();
create trigger reading_new_conflict after insert on studies_demographicsconflict
    for each row execute function reading_follow_conflict();
create trigger reading_changed_conflict after update on studies_demographicsconflict
    for each row when (old.settled is distinct from new.settled) execute function reading_follow_conflict();
create trigger reading_new_policy after insert on reading_readingpolicy
    for each row execute function reading_follow_policy();
create trigger reading_changed_policy after update on reading_readingpolicy
    for each row when (old.urgency <> new.urgency) execute function reading_follow_policy();
"""

REMOVE = """
drop function reading_follow_study() cascade;
drop function reading_follow_new_study() cascade;
drop function reading_follow_new_job() cascade;
drop function reading_follow_job() cascade;
drop function reading_follow_report() cascade;
drop function reading_follow_instance() cascade;
drop function reading_follow_conflict() cascade;
drop function reading_follow_policy() cascade;
drop function reading_refresh_entry(uuid, uuid);
drop function reading_expected_entry(uuid, uuid);
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("reading", "0004_worklist_entries"),
        ("inference", "0013_recalibrated_jobs"),
        ("reports", "0007_verdicts_of_signed_reports"),
        ("studies", "0009_store_named_columns"),
    ]

    operations: ClassVar = [
        migrations.RunSQL(EXPECTED, migrations.RunSQL.noop),
        migrations.RunSQL(REFRESH, migrations.RunSQL.noop),
        migrations.RunSQL(FOLLOW, REMOVE),
    ]
