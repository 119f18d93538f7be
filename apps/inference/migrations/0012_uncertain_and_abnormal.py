"""A finding may be uncertain, and a result has a study-level score."""

from typing import ClassVar

from django.db import migrations, models

# As in 0008, with the new columns. A worker of the release before does not send them.
COMPLETE_JOBS = """
create or replace function inference_complete_jobs(results json, findings json, grids bytea[])
returns table (id uuid, study_id uuid, model_version_id uuid, priority smallint, has_unseen boolean)
language plpgsql as $$
#variable_conflict use_column
declare
    mine constant uuid := current_setting('app.tenant')::uuid;
    held uuid[];
begin
    select array_agg(locked.id) into held from (
        select j.id
          from json_to_recordset(results) r(job uuid, fence bigint)
          join inference_inferencejob j on j.tenant_id = mine and j.id = r.job and j.fence = r.fence
          join studies_study s on s.tenant_id = mine and s.id = j.study_id
         where j.state = 'running'
         order by s.study_instance_uid
           for no key update of j, s
    ) locked;

    insert into inference_finding (id, tenant_id, job_id, label, probability, threshold, positive, uncertain)
    select f.id, mine, f.job, f.label, f.probability, f.threshold, f.positive, coalesce(f.uncertain, false)
      from json_to_recordset(findings)
               f(id uuid, job uuid, label text, probability float8, threshold float8, positive boolean,
                 uncertain boolean)
     where f.job = any(held);

    insert into inference_heatmapgrids (id, tenant_id, job_id, data, grid_rows, grid_columns)
    select r.heatmaps, mine, r.job, grids[r.place], r.grid_rows, r.grid_columns
      from json_to_recordset(results)
               r(job uuid, heatmaps uuid, place integer, grid_rows smallint, grid_columns smallint)
     where r.job = any(held);

    update inference_inferencejob j
       set state = 'complete', lease_until = null, finished = now(), instance_id = r.instance,
           top_label = r.top_label, top_probability = r.top_probability, positive_count = r.positive_count,
           picture_rows = r.picture_rows, picture_columns = r.picture_columns, warnings = r.warnings,
           abnormal_probability = r.abnormal_probability, abnormal_threshold = r.abnormal_threshold
      from json_to_recordset(results)
               r(job uuid, instance uuid, top_label text, top_probability float8, positive_count smallint,
                 picture_rows integer, picture_columns integer, warnings jsonb, abnormal_probability float8,
                 abnormal_threshold float8)
     where j.tenant_id = mine and j.id = r.job and r.job = any(held);

    return query
    select j.id, j.study_id, j.model_version_id, j.priority, r.instances_seen <> (
               select count(*) from studies_series s join studies_instance i on i.tenant_id = mine and i.series_id = s.id
                where s.tenant_id = mine and s.study_id = j.study_id
           )
      from json_to_recordset(results) r(job uuid, instances_seen integer)
      join inference_inferencejob j on j.tenant_id = mine and j.id = r.job
     where r.job = any(held);
end
$$
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("inference", "0011_shadows_by_priority")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="finding",
            name="uncertain",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="So near to the operating point that a small change may turn it.",
            ),
        ),
        migrations.AddField(
            model_name="inferencejob",
            name="abnormal_probability",
            field=models.FloatField(help_text="That the image has any finding, calibrated.", null=True),
        ),
        migrations.AddField(model_name="inferencejob", name="abnormal_threshold", field=models.FloatField(null=True)),
        # Backwards the columns may be gone while this function stays: the one of 0008 is put back by hand.
        migrations.RunSQL(COMPLETE_JOBS, migrations.RunSQL.noop),
    ]
