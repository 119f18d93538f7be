"""The names of the findings in the languages of the portal and the report, as radiologists write them."""

import unicodedata
from collections.abc import Mapping

from django.utils.translation import get_language

# English, German, Spanish.
_NAMES: Mapping[str, tuple[str, str, str]] = {
    "Atelectasis": ("Atelectasis", "Atelektase", "Atelectasia"),
    "Cardiomegaly": ("Cardiomegaly", "Kardiomegalie", "Cardiomegalia"),
    "Effusion": ("Effusion", "Pleuraerguss", "Derrame pleural"),
    "Infiltration": ("Infiltration", "Infiltrat", "Infiltrado"),
    "Mass": ("Mass", "Raumforderung", "Masa"),
    "Nodule": ("Nodule", "Rundherd", "Nódulo"),
    "Pneumonia": ("Pneumonia", "Pneumonie", "Neumonía"),
    "Pneumothorax": ("Pneumothorax", "Pneumothorax", "Neumotórax"),
    "Consolidation": ("Consolidation", "Konsolidierung", "Consolidación"),
    "Edema": ("Edema", "Lungenödem", "Edema pulmonar"),
    "Emphysema": ("Emphysema", "Emphysem", "Enfisema"),
    "Fibrosis": ("Fibrosis", "Fibrose", "Fibrosis"),
    "Pleural_Thickening": ("Pleural thickening", "Pleuraverdickung", "Engrosamiento pleural"),
    "Hernia": ("Hernia", "Hernie", "Hernia"),
}
_LANGUAGES = ("en", "de", "es")
# What readers type for a finding beside its names.
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "Cardiomegaly": ("Herzvergrößerung",),
    "Effusion": ("Pleural effusion", "Erguss", "Derrame"),
    "Infiltration": ("Infiltrate", "Infiltration", "Infiltración"),
    "Edema": ("Oedema", "Pulmonary edema", "Pulmonary oedema", "Ödem"),
    "Consolidation": ("Konsolidation",),
}

FINDINGS: tuple[str, ...] = tuple(_NAMES)
"""The labels that have a name in each language."""


def finding_name(label: str, language: str | None = None) -> str:
    """The name of a label; of one that the table lacks, the label as a text.

    Args:
        language: ``en``, ``de`` or ``es``; without it, the language in force.
    """
    names = _NAMES.get(label)
    if names is None:
        return label.replace("_", " ").capitalize()
    spoken = (language or get_language() or "en").partition("-")[0]
    return names[_LANGUAGES.index(spoken)] if spoken in _LANGUAGES else names[0]


def label_of_name(text: str) -> str:
    """The label that a reader means by a name in any of the languages; empty where it is none of the findings.

    Case, accents and the German spelling without umlauts make no difference.
    """
    return _LABELS.get(_plain(text), "")


def _plain(text: str) -> str:
    spelled = text.casefold().replace("ae", "a").replace("oe", "o").replace("ue", "u").replace("_", " ")
    return "".join(each for each in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(each))


_LABELS: Mapping[str, str] = {
    _plain(name): label for label, names in _NAMES.items() for name in (*names, *_OTHER_NAMES.get(label, ()))
}
