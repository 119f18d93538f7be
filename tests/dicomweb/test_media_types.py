"""The choice of a media type."""

import pytest
from django.test import RequestFactory
from rest_framework.request import Request

from apps.core.errors import ChecxrayError
from apps.dicomweb.media_types import Offer, accepted_ranges, choose

STORED = "1.2.840.10008.1.2.4.90"
PLAIN = "1.2.840.10008.1.2.1"
OFFERS = [
    Offer("application/dicom", True, STORED, is_default=False),
    Offer("application/dicom", True, PLAIN),
    Offer("application/dicom", False, STORED, is_default=False),
    Offer("application/dicom", False, PLAIN),
]


def chosen(accept: str) -> tuple[bool, str] | None:
    found = choose(accepted_ranges(Request(RequestFactory().get("/", headers={"accept": accept}))), OFFERS)
    return None if found is None else (found.is_multipart, found.transfer_syntax)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", (True, STORED)),
        ("", (True, STORED)),
        ("multipart/related", (True, STORED)),
        ('multipart/related; type="application/dicom"', (True, PLAIN)),
        ("multipart/related;type=application/dicom;transfer-syntax=*", (True, STORED)),
        ('Multipart/Related; Type="application/dicom"; transfer-syntax="*"', (True, STORED)),
        (f"application/dicom; transfer-syntax={STORED}", (False, STORED)),
        ("application/*", (False, STORED)),
        (f"application/dicom; transfer-syntax={STORED}; q=0.1, application/dicom; q=0.2", (False, PLAIN)),
        (f"application/dicom; transfer-syntax=1.2.3, application/dicom; transfer-syntax={STORED}", (False, STORED)),
        ('text/html, multipart/related; type="application/dicom"; q=0.5, */*; q=0.1', (True, PLAIN)),
        (f'*/*, multipart/related; type="application/dicom"; transfer-syntax={STORED}; q=0', (True, PLAIN)),
        ('multipart/related; type="application/dicom, x"; a=",;", application/dicom', (False, PLAIN)),
        ("application/dicom; transfer-syntax=1.2.3", None),
        ("image/png", None),
        ("application/dicom; q=0", None),
        ("application/dicom; q=2", None),
        (';;;,,,"', None),
        ("multipart/related; type=", None),
    ],
)
def test_choice(accept: str, expected: tuple[bool, str] | None) -> None:
    assert chosen(accept) == expected


def test_a_very_long_list_is_refused_at_once() -> None:
    with pytest.raises(ChecxrayError):
        chosen('a/b; c="' + "\\" * 10_000)
    assert chosen(",".join(['x/y;z="' for _ in range(900)])) is None
