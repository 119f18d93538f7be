"""Storing an instance names the columns that it fills, so that a column added later gets its database default."""

from typing import ClassVar

from django.db import migrations

# As in 0005, which filled whole rows: a column that the caller did not know became null. Each of the first four
# arguments holds a row by column, without the tenant and the keys of its parents. Called by
# apps.studies.services.store_instance, which says what it does.
STORE_INSTANCE = """
create or replace function studies_store_instance(
    new_patient jsonb, new_study jsonb, new_series jsonb, new_instance jsonb, placeholder text
)
returns table (outcome text, of_study uuid, needs_review boolean, in_conflict boolean, is_withdrawn boolean)
language plpgsql as $$
declare
    mine constant uuid := current_setting('app.tenant')::uuid;
    -- Whether the PatientID names a person.
    identified boolean := (new_patient->>'is_identified')::boolean;
    received_key constant text[] := array(select jsonb_array_elements_text(new_instance->'demographics_key'));
    study studies_study;
    patient studies_patient;
    of_patient uuid;
    of_series uuid;
    known_sha256 text;
begin
    needs_review := false;
    if identified and exists (
        select from studies_placeholderpatientid x where x.tenant_id = mine and x.key = placeholder
    ) then
        identified := false;
    end if;
    loop
        select * into study from studies_study s
         where s.tenant_id = mine and s.study_instance_uid = new_study->>'study_instance_uid' for no key update;
        of_study := study.id;
        of_patient := study.patient_id;

        select i.sha256, s.study_id into known_sha256, of_study
          from studies_instance i join studies_series s on s.tenant_id = mine and s.id = i.series_id
         where i.tenant_id = mine and i.sop_instance_uid = new_instance->>'sop_instance_uid';
        if found then
            outcome := case known_sha256 when new_instance->>'sha256' then 'known' else 'duplicate-with-other-content' end;
            exit;
        end if;
        outcome := 'new';

        if study.id is not null then
            of_study := study.id;
            select * into patient from studies_patient p where p.tenant_id = mine and p.id = study.patient_id;
            needs_review := studies_differ(study.demographics_key, received_key) or identified and (
                not patient.is_identified or patient.patient_id <> new_patient->>'patient_id'
                or patient.issuer_of_patient_id <> new_patient->>'issuer_of_patient_id'
            );
            exit;
        end if;

        of_patient := null;
        if identified then
            -- The lock lets studies of one patient in one by one: of two that arrive at once, the second sees the first.
            select * into patient from studies_patient p
             where p.tenant_id = mine and p.patient_id = new_patient->>'patient_id'
               and p.issuer_of_patient_id = new_patient->>'issuer_of_patient_id' and p.is_identified
             order by p.person_number limit 1 for no key update;
            of_patient := patient.id;
        end if;
        if of_patient is null then
            insert into studies_patient (id, tenant_id, patient_id, issuer_of_patient_id, is_identified)
            select r.id, mine, r.patient_id, r.issuer_of_patient_id, identified
              from jsonb_populate_record(null::studies_patient, new_patient) r
            on conflict do nothing
            returning id into of_patient;
            -- Another request was faster: its patient is there in the next round.
            continue when of_patient is null;
        else
            needs_review := exists (
                select from studies_patient p
                 where p.tenant_id = mine and p.patient_id = patient.patient_id
                   and p.issuer_of_patient_id = patient.issuer_of_patient_id and p.is_identified and p.id <> patient.id
            ) or exists (
                select from studies_study s
                 where s.tenant_id = mine and s.patient_id = of_patient and s.withdrawn is null
                   and studies_differ(s.demographics_key, received_key)
            );
        end if;
        -- Where another request was faster here, this fails, so that no patient stays behind without a study.
        insert into studies_study (
            id, tenant_id, patient_id, study_instance_uid, accession_number, study_id, study_date, study_time,
            study_description, referring_physician_name, received,
            patient_name, patient_birth_date, patient_sex, patient_age, demographics_key
        )
        select r.id, mine, of_patient, r.study_instance_uid, r.accession_number, r.study_id, r.study_date, r.study_time,
               r.study_description, r.referring_physician_name, r.received,
               r.patient_name, r.patient_birth_date, r.patient_sex, r.patient_age, r.demographics_key
          from jsonb_populate_record(null::studies_study, new_study) r
        returning * into study;
        of_study := study.id;
        exit;
    end loop;

    is_withdrawn := study.withdrawn is not null;
    in_conflict := exists (
        select from studies_demographicsconflict c where c.tenant_id = mine and c.study_id = of_study and c.settled is null
    ) or exists (
        select from studies_demographicsconflict c
         where c.tenant_id = mine and c.patient_id = of_patient and c.settled is null
    );
    if outcome = 'new' then
        select s.id into of_series from studies_series s
         where s.tenant_id = mine and s.study_id = study.id
           and s.series_instance_uid = new_series->>'series_instance_uid';
        if of_series is null then
            insert into studies_series (
                id, tenant_id, study_id, series_instance_uid, modality, body_part_examined, series_description,
                series_number
            )
            select r.id, mine, study.id, r.series_instance_uid, r.modality, r.body_part_examined, r.series_description,
                   r.series_number
              from jsonb_populate_record(null::studies_series, new_series) r
            returning id into of_series;
        end if;
        insert into studies_instance (
            id, tenant_id, series_id, sop_instance_uid, sop_class_uid, transfer_syntax_uid, rows, columns, unreadable,
            view_position, attributes, warnings, sha256, size, received, patient_id, issuer_of_patient_id,
            patient_name, patient_birth_date, patient_sex, patient_age, demographics_key
        )
        select r.id, mine, of_series, r.sop_instance_uid, r.sop_class_uid, r.transfer_syntax_uid, r.rows, r.columns,
               r.unreadable, r.view_position, r.attributes, r.warnings, r.sha256, r.size, r.received, r.patient_id,
               r.issuer_of_patient_id,
               r.patient_name, r.patient_birth_date, r.patient_sex, r.patient_age, r.demographics_key
          from jsonb_populate_record(null::studies_instance, new_instance) r;
    end if;
    return next;
end
$$
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("studies", "0008_restored_objects")]

    # Backwards it stays: code that knows the function of 0005 calls it in the same way.
    operations: ClassVar = [migrations.RunSQL(STORE_INSTANCE, migrations.RunSQL.noop)]
