"""How a job's image was read: the size of the picture that its maps lie on, and what is odd about the image."""

from typing import ClassVar

from django.db import migrations, models

# As in 0006, and each result says how its image was read.
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

    insert into inference_finding (id, tenant_id, job_id, label, probability, threshold, positive)
    select f.id, mine, f.job, f.label, f.probability, f.threshold, f.positive
      from json_to_recordset(findings)
               f(id uuid, job uuid, label text, probability float8, threshold float8, positive boolean)
     where f.job = any(held);

    insert into inference_heatmapgrids (id, tenant_id, job_id, data, grid_rows, grid_columns)
    select r.heatmaps, mine, r.job, grids[r.place], r.grid_rows, r.grid_columns
      from json_to_recordset(results)
               r(job uuid, heatmaps uuid, place integer, grid_rows smallint, grid_columns smallint)
     where r.job = any(held);

    update inference_inferencejob j
       set state = 'complete', lease_until = null, finished = now(), instance_id = r.instance,
           top_label = r.top_label, top_probability = r.top_probability, positive_count = r.positive_count,
           picture_rows = r.picture_rows, picture_columns = r.picture_columns, warnings = r.warnings
      from json_to_recordset(results)
               r(job uuid, instance uuid, top_label text, top_probability float8, positive_count smallint,
                 picture_rows integer, picture_columns integer, warnings jsonb)
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
    dependencies: ClassVar = [("inference", "0007_outages_and_suspects")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="inferencejob",
            name="picture_rows",
            field=models.PositiveIntegerField(
                help_text="Rows of the picture that the maps lie on; empty in jobs from before images were turned.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="inferencejob",
            name="picture_columns",
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="inferencejob",
            name="warnings",
            field=models.JSONField(
                db_default=models.Value([], output_field=models.JSONField()),
                default=list,
                help_text="What is odd about the image that was read: code and detail.",
            ),
        ),
        # Backwards the columns may be gone while this function stays: the one of 0006 is put back by hand.
        migrations.RunSQL(COMPLETE_JOBS, migrations.RunSQL.noop),
    ]
