"""The codes of result objects: SNOMED CT and DCM (PS3.16), and a few of our own where neither has one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydicom.sr.coding import Code

OWN_SCHEME: Final = "99CHECXRAY"

FINDINGS: Final[Mapping[str, Code]] = MappingProxyType(
    {
        "Atelectasis": Code("46621007", "SCT", "Atelectasis"),
        "Cardiomegaly": Code("8186001", "SCT", "Cardiomegaly"),
        "Effusion": Code("60046008", "SCT", "Pleural effusion"),
        "Infiltration": Code("409609008", "SCT", "Radiologic infiltrate of lung"),
        "Mass": Code("309529002", "SCT", "Lung mass"),
        "Nodule": Code("786838002", "SCT", "Nodule of lung"),
        "Pneumonia": Code("233604007", "SCT", "Pneumonia"),
        "Pneumothorax": Code("36118008", "SCT", "Pneumothorax"),
        "Consolidation": Code("95436008", "SCT", "Lung consolidation"),
        "Edema": Code("19242006", "SCT", "Pulmonary edema"),
        "Emphysema": Code("87433001", "SCT", "Pulmonary emphysema"),
        "Fibrosis": Code("51615001", "SCT", "Fibrosis of lung"),
        # No source that we trust names a SNOMED CT concept for it: a wrong code would be worse than one of our own.
        "Pleural_Thickening": Code("pleural-thick", OWN_SCHEME, "Pleural thickening"),
        "Hernia": Code("39839004", "SCT", "Diaphragmatic hernia"),
    }
)
"""The code of each label. A label of another version that is not listed gets `finding_code`'s own code."""

CHEST_RADIOGRAPHY: Final = Code("399208008", "SCT", "Plain chest X-ray")

PROBABILITY: Final = Code("122157", "DCM", "Probability")
THRESHOLD: Final = Code("122411", "DCM", "Threshold Value")
UNITY: Final = Code("1", "UCUM", "no units")

INTERPRETATION: Final = Code("363713009", "SCT", "Has interpretation")
POSITIVE: Final = Code("10828004", "SCT", "Positive")
NEGATIVE: Final = Code("260385009", "SCT", "Negative")
UNCERTAIN: Final = Code("82334004", "SCT", "Indeterminate")

VERDICT: Final = Code("verdict", OWN_SCHEME, "Verdict of the reader")
VERDICTS: Final[Mapping[str, Code]] = MappingProxyType(
    # The words of IHE AI Result Assessment.
    {"agree": Code("accepted", OWN_SCHEME, "Accepted"), "disagree": Code("rejected", OWN_SCHEME, "Rejected")}
)

READER_FINDING: Final = Code("reader-finding", OWN_SCHEME, "Finding of the reader")
SUPPLEMENTED: Final = Code("supplemented", OWN_SCHEME, "Supplemented")

SUMMARY: Final = Code("111017", "DCM", "CAD Processing and Findings Summary")
# CID 6047, CAD Processing and Findings Summary.
WITH_FINDINGS: Final = Code("111242", "DCM", "All algorithms succeeded; with findings")
WITHOUT_FINDINGS: Final = Code("111241", "DCM", "All algorithms succeeded; without findings")
NOT_ALL_WITH_FINDINGS: Final = Code("111244", "DCM", "Not all algorithms succeeded; with findings")
NOT_ALL_WITHOUT_FINDINGS: Final = Code("111243", "DCM", "Not all algorithms succeeded; without findings")
NOT_READ: Final = Code("111245", "DCM", "No algorithms succeeded; without findings")

ANY_FINDING: Final = Code("any-finding", OWN_SCHEME, "Any finding")
COMMENT: Final = Code("121106", "DCM", "Comment")
IMPRESSION: Final = Code("121073", "DCM", "Impression")
BOUNDED_BY: Final = Code("75958009", "SCT", "Bounded by")

# CID 7005. IHE AIR's "Processing Algorithm" has no code of its own yet.
PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")
# CID 7202.
SOURCE_IMAGE: Final = Code("121322", "DCM", "Source image for image processing operation")
# CID 7020.
IMAGING_REPORT: Final = Code("18748-4", "LN", "Diagnostic imaging report")


def finding_code(label: str) -> Code:
    """The code of a label; one of our own where the table has none."""
    return FINDINGS.get(label) or Code(label[:16], OWN_SCHEME, label.replace("_", " ")[:64])
