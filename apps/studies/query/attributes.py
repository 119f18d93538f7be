"""The attributes that a search can match and return, and where each is stored.

The tables here are what the conformance statement in ``docs/dicomweb.md`` lists; a test compares the two.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class Level(IntEnum):
    """The levels of the information model (PS3.4 C.6.1.1)."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


class Match(StrEnum):
    """How a value is compared (PS3.4 C.2.2.2)."""

    NONE = "not matched"
    UID = "list of UIDs"
    TEXT = "single value, wildcards"
    CODE = "list of values, wildcards"
    NAME = "single value, wildcards, in each of the three component groups"
    DATE = "single date, range of dates"
    TIME = "single time, range of times"
    NUMBER = "single value"


@dataclass(frozen=True)
class Attribute:
    """One attribute.

    Attributes:
        field: the field of the row of its level, with ``__`` between steps; empty where it is computed.
        is_default: returned in a search at its level even where it is not asked for (PS3.18 tables 10.6.3-3 to 5).
    """

    keyword: str
    tag: str
    vr: str
    level: Level
    field: str
    match: Match = Match.NONE
    is_default: bool = False

    def path(self, level: Level) -> str:
        """The field as seen from a row of this or a lower level."""
        return _STEPS[level, self.level] + self.field


_STEPS: Final = {
    (Level.STUDY, Level.STUDY): "",
    (Level.SERIES, Level.STUDY): "study__",
    (Level.SERIES, Level.SERIES): "",
    (Level.INSTANCE, Level.STUDY): "series__study__",
    (Level.INSTANCE, Level.SERIES): "series__",
    (Level.INSTANCE, Level.INSTANCE): "",
}
_STUDY, _SERIES, _INSTANCE = Level

_TABLE: Final = (
    Attribute("StudyInstanceUID", "0020000D", "UI", _STUDY, "study_instance_uid", Match.UID, True),
    Attribute("StudyDate", "00080020", "DA", _STUDY, "study_date", Match.DATE, True),
    Attribute("StudyTime", "00080030", "TM", _STUDY, "study_time", Match.TIME, True),
    Attribute("AccessionNumber", "00080050", "SH", _STUDY, "accession_number", Match.TEXT, True),
    Attribute("InstanceAvailability", "00080056", "CS", _STUDY, "", Match.NONE, True),
    Attribute("ModalitiesInStudy", "00080061", "CS", _STUDY, "", Match.CODE, True),
    Attribute("SOPClassesInStudy", "00080062", "UI", _STUDY, "", Match.UID),
    Attribute("ReferringPhysicianName", "00080090", "PN", _STUDY, "referring_physician_name", Match.NAME, True),
    Attribute("StudyDescription", "00081030", "LO", _STUDY, "study_description", Match.TEXT),
    Attribute("PatientName", "00100010", "PN", _STUDY, "patient_name", Match.NAME, True),
    Attribute("PatientID", "00100020", "LO", _STUDY, "patient__patient_id", Match.TEXT, True),
    Attribute("IssuerOfPatientID", "00100021", "LO", _STUDY, "patient__issuer_of_patient_id", Match.TEXT),
    Attribute("PatientBirthDate", "00100030", "DA", _STUDY, "patient_birth_date", Match.DATE, True),
    Attribute("PatientSex", "00100040", "CS", _STUDY, "patient_sex", Match.CODE, True),
    Attribute("PatientAge", "00101010", "AS", _STUDY, "patient_age"),
    Attribute("StudyID", "00200010", "SH", _STUDY, "study_id", Match.TEXT, True),
    Attribute("NumberOfStudyRelatedSeries", "00201206", "IS", _STUDY, "", Match.NONE, True),
    Attribute("NumberOfStudyRelatedInstances", "00201208", "IS", _STUDY, "", Match.NONE, True),
    Attribute("Modality", "00080060", "CS", _SERIES, "modality", Match.CODE, True),
    Attribute("SeriesDescription", "0008103E", "LO", _SERIES, "series_description", Match.TEXT, True),
    Attribute("BodyPartExamined", "00180015", "CS", _SERIES, "body_part_examined", Match.CODE),
    Attribute("SeriesInstanceUID", "0020000E", "UI", _SERIES, "series_instance_uid", Match.UID, True),
    Attribute("SeriesNumber", "00200011", "IS", _SERIES, "series_number", Match.NUMBER, True),
    Attribute("NumberOfSeriesRelatedInstances", "00201209", "IS", _SERIES, "", Match.NONE, True),
    Attribute("ImageType", "00080008", "CS", _INSTANCE, "attributes__ImageType"),
    Attribute("SOPClassUID", "00080016", "UI", _INSTANCE, "sop_class_uid", Match.UID, True),
    Attribute("SOPInstanceUID", "00080018", "UI", _INSTANCE, "sop_instance_uid", Match.UID, True),
    Attribute("PresentationIntentType", "00080068", "CS", _INSTANCE, "attributes__PresentationIntentType"),
    Attribute("Manufacturer", "00080070", "LO", _INSTANCE, "attributes__Manufacturer"),
    Attribute("ManufacturerModelName", "00081090", "LO", _INSTANCE, "attributes__ManufacturerModelName"),
    Attribute("AvailableTransferSyntaxUID", "00083002", "UI", _INSTANCE, "transfer_syntax_uid"),
    Attribute("ViewPosition", "00185101", "CS", _INSTANCE, "view_position", Match.CODE),
    Attribute("InstanceNumber", "00200013", "IS", _INSTANCE, "attributes__InstanceNumber", Match.NUMBER, True),
    Attribute("PatientOrientation", "00200020", "CS", _INSTANCE, "attributes__PatientOrientation"),
    Attribute("ImageLaterality", "00200062", "CS", _INSTANCE, "attributes__ImageLaterality"),
    Attribute("NumberOfFrames", "00280008", "IS", _INSTANCE, "attributes__NumberOfFrames", Match.NONE, True),
    Attribute("Rows", "00280010", "US", _INSTANCE, "rows", Match.NUMBER, True),
    Attribute("Columns", "00280011", "US", _INSTANCE, "columns", Match.NUMBER, True),
    Attribute("BitsAllocated", "00280100", "US", _INSTANCE, "attributes__BitsAllocated", Match.NONE, True),
)
ATTRIBUTES: Final = MappingProxyType({attribute.keyword: attribute for attribute in _TABLE})
BY_TAG: Final = MappingProxyType({attribute.tag: attribute for attribute in _TABLE})
# Keys of lower levels that a search for studies matches: a series of the study has the value.
OF_SERIES_OF_A_STUDY: Final = frozenset({"Modality", "BodyPartExamined"})
# The UID of each level is in every answer at this level and below.
UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def find_attribute(name: str) -> Attribute | None:
    """The attribute with this keyword, or these eight hexadecimal digits of its tag; None where it is not searched."""
    return ATTRIBUTES.get(name) or BY_TAG.get(name.upper())


def can_match(attribute: Attribute, level: Level) -> bool:
    """Whether a search at a level compares this attribute."""
    if attribute.match is Match.NONE:
        return False
    return attribute.level <= level or (level is Level.STUDY and attribute.keyword in OF_SERIES_OF_A_STUDY)
