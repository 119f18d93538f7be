"""DICOM peers in a real browser: from an empty list to a listed peer, on wide and narrow screens."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from apps.audit.services import Actor
from apps.routing.models import Peer, Refusal
from apps.routing.services import note_refusal
from apps.tenants.scope import tenant_tx
from tests.browser.audit import defects
from tests.conftest import Hospital

pytestmark = pytest.mark.browser


def test_an_administrator_lists_a_caller_that_was_refused(north: Hospital, enter: Callable[..., Page]) -> None:
    with tenant_tx(north.tenant.id):
        Peer.objects.all().delete()
        note_refusal(
            ae_title="CT1",
            address="10.1.2.3",
            reason=Refusal.Reason.NOT_LISTED,
            amount=3,
            by=Actor(name="dimse:CT1"),
        )
    page = enter(north.admin)
    page.get_by_role("link", name="Hospital settings").click()
    page.get_by_role("link", name="DICOM peers").click()
    expect(page.get_by_role("heading", name="Nothing can send yet")).to_be_visible()
    for width in (1280, 380):
        page.set_viewport_size({"width": width, "height": 900})
        assert defects(page) == []
    page.get_by_role("link", name="Fill in CT1 from 10.1.2.3").click()
    expect(page.get_by_label("Calling AE title")).to_have_value("CT1")
    page.get_by_label("Address or network").fill("10.1.2.3/24")
    page.get_by_role("button", name="Add the peer").click()
    expect(page.get_by_text("write 10.1.2.0/24 or 10.1.2.3")).to_be_visible()
    assert defects(page) == []
    page.get_by_label("Address or network").fill("10.1.2.0/24")
    page.get_by_role("button", name="Add the peer").click()
    expect(page.get_by_text("CT1 from 10.1.2.0/24 may send from now on.")).to_be_visible()
    expect(page.get_by_role("link", name="Fill in")).to_have_count(0)
    page.get_by_role("link", name="CT1", exact=True).click()
    assert defects(page) == []
    page.get_by_label("Host").fill("no-such-host.invalid")
    page.get_by_label("Port").fill("104")
    page.get_by_role("button", name="Save the peer").click()
    page.get_by_role("button", name="Echo CT1").click()
    expect(page.get_by_text("It did not answer. The host name cannot be resolved")).to_be_visible()
    expect(page.get_by_text("Last error")).to_be_visible()
    for width in (1280, 320):
        page.set_viewport_size({"width": width, "height": 900})
        assert defects(page) == []
    page.get_by_role("link", name="CT1", exact=True).click()
    assert defects(page) == []
    page.get_by_role("button", name="Remove CT1").click()
    expect(page.get_by_text("CT1 from 10.1.2.0/24 is refused from now on.")).to_be_visible()
