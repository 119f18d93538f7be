"""Seeds many studies of many tenants by SQL, in minutes: the rows are written without triggers and foreign keys.

The studies of all tenants are interleaved by the time of their arrival, as an installation that grows has them, so that
the rows of one tenant lie on many pages. The indexes are built afterwards. The rows for lists are written in sets, and
some are compared with the function that the triggers use.
"""

import time

import psycopg2

from apps.accounts.models import User
from apps.reading.models import URGENCY
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant
from config.embedded.postgres import DATABASE, admin_dsn

READER = "reader@example.org"
DAYS = 180
TABLES = (
    "studies_patient", "studies_study", "studies_series", "studies_instance", "inference_inferencejob",
    "inference_finding", "reports_report", "reports_reportdraft", "reading_worklistentry",
)  # fmt: skip
# A superuser may mark an index as one that rows are not written to; `reindex` builds it and clears the mark.
_WITHOUT_INDEXES = """
update pg_index set indisready = false, indisvalid = false where indrelid = any('{{{tables}}}'::regclass[])
"""
# A share of p per mille is `dice < p`.
_SEED = """
set session_replication_role = replica;
set work_mem = '256MB';
set maintenance_work_mem = '512MB';
set synchronous_commit = off;
create type pg_temp.scored as (label text, probability float8);
create temporary table seeded as
select *, uuidv7(received - now()) as study, gen_random_uuid() as patient, uuidv7(received - now()) as job,
       uuidv7(received - now()) as series, uuidv7(received - now()) as instance,
       dice >= 50 and not (mark = 0 and number <= {unsigned}) as is_signed
  from (
    select t.id as tenant, t.mark - 1 as mark, number, abs(hashtext(t.mark || 'a' || number)) % 1000 as dice,
           now() - interval '1 minute' - interval '{days} days' * (number::float8 / t.count) as received
      from unnest('{{{tenants}}}'::uuid[], '{{{counts}}}'::int[]) with ordinality t(id, count, mark)
     cross join lateral generate_series(1, t.count) number
  ) arrivals
 order by received;
insert into studies_patient (id, tenant_id, patient_id, issuer_of_patient_id, is_identified)
select patient, tenant, 'P' || number, '', true from seeded;
insert into studies_study (id, tenant_id, patient_id, study_instance_uid, accession_number, study_id, study_date,
    study_time, study_description, referring_physician_name, received, patient_name, patient_sex, patient_birth_date,
    demographics_key)
select study, tenant, patient, '2.25.' || mark || '.' || number, 'ACC' || number, '', received::date, received::time,
       'Chest PA', '', received, 'FAMILY' || number % 5000 || '^GIVEN' || number, 'F',
       date '1940-01-01' + number % 25000,
       array['family' || number % 5000 || '^given' || number, '', '', '', 'f'] from seeded;
insert into studies_series (id, tenant_id, study_id, series_instance_uid, modality, body_part_examined,
    series_description, series_number)
select series, tenant, study, '2.25.' || mark || '.' || number || '.1', case when dice % 10 = 0 then 'CR' else 'DX' end,
       'CHEST', 'PA', '1' from seeded;
insert into studies_instance (id, tenant_id, series_id, sop_instance_uid, sop_class_uid, transfer_syntax_uid, rows,
    columns, view_position, attributes, warnings, sha256, size, received)
select instance, tenant, series, '2.25.' || mark || '.' || number || '.1.1', '1.2.840.10008.5.1.4.1.1.1.1',
       '1.2.840.10008.1.2.1', 2000, 2000, 'PA', '{{}}', '[]', '', 1, received from seeded;
insert into inference_inferencejob (id, tenant_id, study_id, priority, turn, created, state, attempt, fence,
    positive_count, worker, reason_code, reason, top_label, top_probability, model_version_id, instance_id, finished,
    warnings)
select job, tenant, study, case when dice % 200 = 1 then 2 else 0 end, 0, received,
       case when dice < 20 then 'queued' when dice < 40 then 'rejected' when dice < 50 then 'failed'
            else 'complete' end,
       1, 1, 0, '', case when dice >= 20 and dice < 50 then 'lateral-view' else '' end, '', 'Effusion',
       (number * 7919 % 10000) / 10000.0, '{version}', instance, case when dice < 20 then null else received end, '[]'
  from seeded;
insert into inference_finding (id, tenant_id, job_id, label, probability, threshold, positive, uncertain)
select uuidv7(s.received - now()), tenant, s.job, l.label, p.value, 0.5, p.value >= 0.5, false
  from seeded s cross join unnest('{{{labels}}}'::text[]) with ordinality l(label, place)
 cross join lateral (select abs(hashtext(s.number || l.label)) % 10000 / 9000.0 * (0.35 + l.place / 40.0) as value) p
 where s.dice >= 50 and s.mark = 0;
insert into reports_report (id, tenant_id, study_id, job_id, number, status, impression, reason, image_count,
    signed_by_id, signed_at, pdf_sha256, created)
select gen_random_uuid(), tenant, study, job, 1, 'final', 'Normal.', '', 1, '{user}', received, 'x', received
  from seeded where is_signed;
insert into reports_reportdraft (id, tenant_id, study_id, job_id, created)
select gen_random_uuid(), tenant, study, job, received from seeded where dice >= 50;
insert into reading_worklistentry (id, tenant_id, study_id, job_id, status, received, study_date, search_text, flagged,
    urgent_label, urgency, margin, requested_priority, report_status, news_at, changed, probabilities, top_probability)
select s.study, s.tenant, s.study, s.job, case when dice < 20 then 'waiting' else j.state end, s.received,
       s.received::date, concat_ws(' ', 'family' || number % 5000 || '^given' || number, '', '', 'p' || number,
       'acc' || number), coalesce(f.flagged, '{{}}'), coalesce((u).label, ''),
       array_position('{{{urgency}}}'::text[], (u).label::text),
       ln((u).probability / (1 - (u).probability)) - ln(0.5 / (1 - 0.5)),
       j.priority, case when is_signed then 'final' else '' end, coalesce(j.finished, s.received), s.received,
       f.probabilities, case when j.state = 'complete' then j.top_probability end
  from seeded s join inference_inferencejob j on j.id = s.job
  left join (
      select job_id, array_agg(label order by label) filter (where positive) as flagged,
             array_agg(probability order by array_position('{{{labels}}}'::text[], label::text)) as probabilities,
             (array_agg((label, least(probability, 1 - 1e-6))::pg_temp.scored
                        order by array_position('{{{urgency}}}'::text[], label::text))
              filter (where positive))[1] as most_urgent
        from inference_finding group by job_id
  ) f on f.job_id = s.job
 cross join lateral (select case when not s.is_signed then f.most_urgent end as u) x
 order by s.received;
drop table seeded;
set session_replication_role = origin;
"""
_SAMPLE = """
select count(*) from (
    select study_id, tenant_id from reading_worklistentry where tenant_id = %s order by received desc limit 300
) w cross join lateral reading_expected_entry(w.tenant_id, w.study_id) x
  join reading_worklistentry e on e.id = w.study_id
 where ({columns}) is distinct from ({expected})
"""
_COLUMNS = (
    "job_id", "status", "received", "study_date", "search_text", "flagged", "urgent_label", "urgency",
    "requested_priority", "report_status", "news_at", "probabilities", "top_probability",
)  # fmt: skip


def seed_tenants(sizes: dict[str, int], *, unsigned: int) -> None:
    """Make tenants with studies. The first one gets findings as well; its newest ``unsigned`` studies are not signed.

    Args:
        sizes: the number of studies by the tenant's slug.
    """
    user = User.objects.filter(email=READER).first() or User.objects.create_user(READER, "correct horse battery staple")
    version, _ = ModelVersion.objects.get_or_create(
        name="scale", number=1, defaults={"manifest": {"data": {}}, "sha256": "0" * 64, "device_uid": "2.25.1"}
    )
    tenants = [Tenant.objects.create(slug=slug, name=slug, ae_title=slug.upper()).pk for slug in sizes]
    statement = _SEED.format(
        tenants=",".join(map(str, tenants)),
        counts=",".join(map(str, sizes.values())),
        labels=",".join(engine.LABELS),
        urgency=",".join(URGENCY),
        user=user.pk,
        version=version.pk,
        unsigned=unsigned,
        days=DAYS,
    )
    columns = {side: ", ".join(f"{side}.{name}" for name in _COLUMNS) for side in ("e", "x")}
    started = time.monotonic()
    connection = psycopg2.connect(**admin_dsn(DATABASE))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT_INDEXES.format(tables=",".join(TABLES)))
        cursor.execute(statement)
        for table in TABLES:
            cursor.execute(f"reindex table {table}")
        cursor.execute(_SAMPLE.format(columns=columns["e"], expected=columns["x"]), [tenants[0]])
        assert cursor.fetchone() == (0,), "The seeded rows differ from those that the triggers write."
        cursor.execute("vacuum analyze")
    connection.close()
    print(f"{sum(sizes.values())} studies of {len(sizes)} tenants: seeded in {time.monotonic() - started:.0f} s")
