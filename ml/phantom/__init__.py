"""Synthetic frontal chest films with planted findings: for demo, tests and benchmarks. No patient is behind them."""

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
