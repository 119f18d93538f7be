"""The addresses of studies, series and instances below ``/dicom-web`` (PS3.18 10.1.1)."""

from collections.abc import Mapping
from typing import Any

from apps.studies.models import Instance
from apps.studies.query.attributes import Level


def level_address(values: Mapping[str, Any], level: Level) -> str:
    """The address of a result of a search."""
    address = f"/studies/{values['StudyInstanceUID']}"
    if level >= Level.SERIES:
        address += f"/series/{values['SeriesInstanceUID']}"
    if level is Level.INSTANCE:
        address += f"/instances/{values['SOPInstanceUID']}"
    return address


def instance_address(instance: Instance) -> str:
    series = instance.series
    study = series.study.study_instance_uid
    return f"/studies/{study}/series/{series.series_instance_uid}/instances/{instance.sop_instance_uid}"
