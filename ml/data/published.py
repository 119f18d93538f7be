"""Published counts of ChestX-ray14, to set a folder's own beside them."""

from typing import Any

_PUBLISHED_FILMS = 112120
_PUBLISHED_LABELS = {
    "Atelectasis": (11559, 4981),
    "Cardiomegaly": (2776, 1566),
    "Effusion": (13317, 4275),
    "Infiltration": (19894, 8035),
    "Mass": (5782, 2568),
    "Nodule": (6331, 3394),
    "Pneumonia": (1431, 1008),
    "Pneumothorax": (5302, 1487),
    "Consolidation": (4667, 2150),
    "Edema": (2303, 1073),
    "Emphysema": (2516, 1046),
    "Fibrosis": (1686, 1260),
    "Pleural_Thickening": (3385, 2006),
    "Hernia": (227, 134),
    "No Finding": (60361, 24907),
}

PUBLISHED: dict[str, Any] = {
    "films": _PUBLISHED_FILMS,
    "patients": 30805,
    "labels": {
        label: {"films": images, "share": images / _PUBLISHED_FILMS, "patients": patients, "unknown": 0}
        for label, (images, patients) in _PUBLISHED_LABELS.items()
    },
    "findings_per_film": {"0": 60361, "1": 30963, "2": 14306, "3": 4856, "4+": 1634},
    "views": {"PA": 67310, "AP": 44810},
    "sexes": {"F": 48780, "M": 63340},
    "ages": {"0-19": 7046, "20-39": 29393, "40-59": 49243, "60-79": 25419, "80+": 1019},
    "median_age": 49.0,
}
"""`ml.data.overview.counts` of the whole ChestX-ray14 by its table of 2020 (`Data_Entry_2017_v2020.csv`)."""

PAPER_TABLE_1 = {
    "Atelectasis": 11535,
    "Cardiomegaly": 2772,
    "Effusion": 13307,
    "Infiltration": 19871,
    "Mass": 5746,
    "Nodule": 6323,
    "Pneumonia": 1353,
    "Pneumothorax": 5298,
    "Consolidation": 4667,
    "Edema": 2303,
    "Emphysema": 2516,
    "Fibrosis": 1686,
    "Pleural_Thickening": 3385,
    "Hernia": 227,
}
"""Films with each finding, by Table 1 of the paper from which this project started: Chappidi, Shaikh, Bhan, Mane, Khan,
"Checxray: A SaaS Application for Chest X-Ray Diagnosis". They are the counts of NIH's first release, of 2017."""
