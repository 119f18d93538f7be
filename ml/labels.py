"""The fourteen findings of NIH ChestX-ray14, in the order that CheXNet and its successors use.

Source: Wang et al. 2017 (ChestX-ray8, extended to 14 labels); Rajpurkar et al. 2017 (CheXNet) for the order.
"""

LABELS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)

NO_FINDING = "No Finding"
