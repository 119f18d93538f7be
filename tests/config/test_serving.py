"""The web server's adapter: the view names that it uses, and its count of spooled bytes."""

import pytest
from django.conf import settings
from django.urls import get_resolver

from apps.core.errors import OutOfSpaceError, TooManyRequestsError
from config.serving import admission
from config.serving.spooled import MEMORY_BYTES, Quota, Spooled


def test_the_views_that_are_named_exist() -> None:
    resolver = get_resolver()
    for name in admission.LARGE_BODIES | admission.SIGN_INS | admission.STORING:
        namespace, _, view = name.partition(":")
        assert view in resolver.namespace_dict[namespace][1].reverse_dict, name


def test_an_address_may_have_its_share_and_all_the_whole() -> None:
    quota = Quota(total=100, per_address=60)
    one, other, proxied = (Spooled(quota, address) for address in ("192.0.2.1", "192.0.2.2", ""))
    one.add(bytes(60))
    with pytest.raises(TooManyRequestsError):
        one.add(b"x")
    other.add(bytes(40))
    with pytest.raises(OutOfSpaceError):
        other.add(b"x")
    one.close()
    other.close()
    proxied.add(bytes(100))


def test_bytes_come_back_as_they_went_in() -> None:
    quota = Quota(2**30, 2**30)
    pieces = [b"a", bytes(70_000), b"bc", bytes(range(256)) * 12_000, b"d"]
    spooled = Spooled(quota, "192.0.2.1")
    before = set(settings.SPOOL_DIR.iterdir())
    for piece in pieces:
        spooled.add(piece)
        if spooled.wants_flush:
            spooled.flush()
    assert spooled.size > MEMORY_BYTES
    assert spooled.in_file
    assert set(settings.SPOOL_DIR.iterdir()) == before, "The file has no name."
    spooled.flush()
    assert spooled.open().read() == b"".join(pieces)
    spooled.close()
    spooled.close()
    assert quota.in_memory == 0
