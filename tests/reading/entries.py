"""Compares the rows that lists read with what they are made of."""

from typing import Any

import psycopg2

from config.embedded.postgres import DATABASE, admin_dsn

_DERIVED = (
    "job_id, status, received, study_date, is_withdrawn, in_conflict, search_text, flagged, urgent_label, urgency,"
    " margin, is_partly_read, requested_priority, report_status, has_new_images, news_at, probabilities,"
    " top_probability"
)
_DIFFERENCES = f"""
select coalesce(w.study_id, x.study_id), to_jsonb(w), to_jsonb(x)
  from reading_worklistentry w
  full join (select e.* from studies_study s cross join lateral reading_expected_entry(s.tenant_id, s.id) e) x
       on x.study_id = w.study_id and x.tenant_id = w.tenant_id
 where ({", ".join(f"w.{name.strip()}" for name in _DERIVED.split(","))})
       is distinct from ({", ".join(f"x.{name.strip()}" for name in _DERIVED.split(","))})
"""


def differences() -> list[Any]:
    """The studies of all tenants whose row is missing, left over or out of date; read as a superuser."""
    connection = psycopg2.connect(**admin_dsn(DATABASE))
    try:
        with connection.cursor() as cursor:
            cursor.execute(_DIFFERENCES)
            return cursor.fetchall()
    finally:
        connection.close()
