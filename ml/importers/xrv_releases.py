"""The published weights of TorchXRayVision: which outputs were trained, and their operating points.

The release files contain neither; the library has them in its code (torchxrayvision 1.5.7, models.py, Apache-2.0,
Cohen et al.). A file is recognised by the beginning of its name.
"""

from dataclasses import dataclass

PATHOLOGIES: tuple[str, ...] = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)
"""The order of the outputs in every release."""


@dataclass(frozen=True)
class Release:
    """`file` is how the file's name begins, `size` the side of the input in pixels, `labels` what it was trained for,
    `thresholds` its operating points by pathology, as the library states them.
    """

    name: str
    file: str
    size: int
    labels: frozenset[str]
    thresholds: dict[str, float]


def find(name: str | None, file: str) -> Release | None:
    """The release with that name, or the one whose file name begins like this one, or None. Raises KeyError."""
    if name is not None:
        return RELEASES[name]
    return next((release for release in RELEASES.values() if file.startswith(release.file)), None)


_ALL = frozenset(PATHOLOGIES)
RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release(
            "densenet121-res224-all",
            "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121",
            224,
            _ALL,
            {
                "Atelectasis": 0.07422872,
                "Consolidation": 0.038290843,
                "Infiltration": 0.09814756,
                "Pneumothorax": 0.0098118475,
                "Edema": 0.023601074,
                "Emphysema": 0.0022490358,
                "Fibrosis": 0.010060724,
                "Effusion": 0.103246614,
                "Pneumonia": 0.056810737,
                "Pleural_Thickening": 0.026791653,
                "Cardiomegaly": 0.050318155,
                "Nodule": 0.023985857,
                "Mass": 0.01939503,
                "Hernia": 0.042889766,
                "Lung Lesion": 0.053369623,
                "Fracture": 0.035975814,
                "Lung Opacity": 0.20204692,
                "Enlarged Cardiomediastinum": 0.05015312,
            },
        ),
        Release(
            "densenet121-res224-nih",
            "nih-densenet121",
            224,
            _ALL - {"Lung Lesion", "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum"},
            {
                "Atelectasis": 0.039117552,
                "Consolidation": 0.0034529066,
                "Infiltration": 0.11396341,
                "Pneumothorax": 0.0057298196,
                "Edema": 0.00045666535,
                "Emphysema": 0.0018880932,
                "Fibrosis": 0.012037827,
                "Effusion": 0.038744126,
                "Pneumonia": 0.0037213727,
                "Pleural_Thickening": 0.014730946,
                "Cardiomegaly": 0.016149804,
                "Nodule": 0.054241467,
                "Mass": 0.037198864,
                "Hernia": 0.0004403434,
            },
        ),
        Release(
            "densenet121-res224-pc",
            "pc-densenet121",
            224,
            _ALL - {"Lung Lesion", "Lung Opacity", "Enlarged Cardiomediastinum"},
            {
                "Atelectasis": 0.031012505,
                "Consolidation": 0.013347598,
                "Infiltration": 0.081435576,
                "Pneumothorax": 0.001262615,
                "Edema": 0.002587246,
                "Emphysema": 0.0035944257,
                "Fibrosis": 0.0023071,
                "Effusion": 0.055412333,
                "Pneumonia": 0.044385884,
                "Pleural_Thickening": 0.042766232,
                "Cardiomegaly": 0.043258056,
                "Nodule": 0.037629247,
                "Mass": 0.005658899,
                "Hernia": 0.0091741895,
                "Fracture": 0.026507627,
            },
        ),
        Release(
            "densenet121-res224-chex",
            "chex-densenet121",
            224,
            _ALL - {"Infiltration", "Emphysema", "Fibrosis", "Pleural_Thickening", "Nodule", "Mass", "Hernia"},
            {
                "Atelectasis": 0.1988969,
                "Consolidation": 0.05710573,
                "Pneumothorax": 0.0531293,
                "Edema": 0.1435217,
                "Effusion": 0.27212676,
                "Pneumonia": 0.07749717,
                "Cardiomegaly": 0.19712369,
                "Lung Lesion": 0.09932402,
                "Fracture": 0.09273402,
                "Lung Opacity": 0.3270967,
                "Enlarged Cardiomediastinum": 0.10888247,
            },
        ),
        Release(
            "densenet121-res224-rsna",
            "kaggle-densenet121",
            224,
            frozenset({"Pneumonia", "Lung Opacity"}),
            {
                "Pneumonia": 0.13486601,
                "Lung Opacity": 0.13511065,
            },
        ),
        Release(
            "densenet121-res224-mimic_nb",
            "mimic_nb-densenet121",
            224,
            _ALL - {"Infiltration", "Emphysema", "Fibrosis", "Pleural_Thickening", "Nodule", "Mass", "Hernia"},
            {
                "Atelectasis": 0.08558747,
                "Consolidation": 0.011884617,
                "Pneumothorax": 0.0040595434,
                "Edema": 0.010733786,
                "Effusion": 0.118761964,
                "Pneumonia": 0.022924708,
                "Cardiomegaly": 0.06358637,
                "Lung Lesion": 0.022143636,
                "Fracture": 0.017476924,
                "Lung Opacity": 0.1258702,
                "Enlarged Cardiomediastinum": 0.014020768,
            },
        ),
        Release(
            "densenet121-res224-mimic_ch",
            "mimic_ch-densenet121",
            224,
            _ALL - {"Infiltration", "Emphysema", "Fibrosis", "Pleural_Thickening", "Nodule", "Mass", "Hernia"},
            {
                "Atelectasis": 0.09121389,
                "Consolidation": 0.010573786,
                "Pneumothorax": 0.005023008,
                "Edema": 0.003698257,
                "Effusion": 0.08001232,
                "Pneumonia": 0.037242252,
                "Cardiomegaly": 0.05006329,
                "Lung Lesion": 0.019866971,
                "Fracture": 0.03823637,
                "Lung Opacity": 0.11303808,
                "Enlarged Cardiomediastinum": 0.0069147074,
            },
        ),
        Release(
            "resnet50-res512-all",
            "pc-nih-rsna-siim-vin-resnet50-test512-e400-state",
            512,
            _ALL,
            {
                "Atelectasis": 0.51570356,
                "Consolidation": 0.50444704,
                "Infiltration": 0.53787947,
                "Pneumothorax": 0.50723547,
                "Edema": 0.5025118,
                "Emphysema": 0.5035252,
                "Fibrosis": 0.5038076,
                "Effusion": 0.51862943,
                "Pneumonia": 0.5078151,
                "Pleural_Thickening": 0.50724894,
                "Cardiomegaly": 0.5056339,
                "Nodule": 0.510706,
                "Mass": 0.5053923,
                "Hernia": 0.5020846,
                "Fracture": 0.5080557,
                "Lung Opacity": 0.5138526,
            },
        ),
    )
}
