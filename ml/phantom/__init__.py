"""Synthetic frontal chest radiographs with findings, for demo, tests and benchmarks; they show no real patient."""

from ml.phantom.demo import DemoImage, demo_set
from ml.phantom.dicom import synthetic_uid, write_dicom
from ml.phantom.encode import TRANSFER_SYNTAXES
from ml.phantom.image import FINDINGS, SyntheticImage, generate

__all__ = [
    "FINDINGS",
    "TRANSFER_SYNTAXES",
    "DemoImage",
    "SyntheticImage",
    "demo_set",
    "generate",
    "synthetic_uid",
    "write_dicom",
]
