"""The model card of a version, as a page and as a PDF, with stated and missing fields."""

from django.test import Client
from django.urls import reverse

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.deployment.card.sections import render_card_pdf
from apps.deployment.card.statements import statements
from apps.deployment.services import activate
from apps.registry.models import ModelVersion
from tests.conftest import PASSWORD
from tests.registry.versions import registered
from tests.reports.reading import opened, text_of

TEXTS = (
    "Model card of chest-net:1", "Intended use and workflow", "Primary intended users", "Targeted patient population",
    "use without a radiologist", "Known risks and limitations", "Ongoing maintenance", "must set MANUFACTURER_NAME",
    "Change plan 1",
    "Regulatory approval", "None stated.", "Effusion", "Fewer than 10 positive films", "synthetic",
    "Not evaluated here yet", "no curve of its training", "First of all", "2.25.101", "Serving",
)  # fmt: skip


def version_in_use() -> ModelVersion:
    version = registered(1)
    activate(version=version, by=Actor(name="test"), reason="First of all.")
    return version


def test_the_page_shows_every_section(db: None) -> None:
    version = version_in_use()
    client = Client()
    client.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    page = client.get(reverse("admin:registry_modelversion_card", args=[version.pk]))
    text = page.content.decode()
    for expected in TEXTS:
        assert expected in text, expected
    pdf = client.get(reverse("admin:registry_modelversion_card_pdf", args=[version.pk]))
    assert pdf["Content-Type"] == "application/pdf"


def test_the_document_shows_the_same(db: None) -> None:
    text = " ".join(text_of(opened(render_card_pdf(version=version_in_use()))).split())
    for expected in (*TEXTS, "Not for diagnostic use"):
        assert expected in text, expected


def test_the_card_says_what_the_network_is_and_where_its_maps_count(db: None) -> None:
    version = registered(1)
    assert "average pooling, one linear layer" in card_of(version)
    assert "validated as a location of the finding for: none of them" in card_of(version)
    version.localised = ["Effusion"]
    version.manifest |= {"stages": ["blocks.3", "blocks.6"]}
    assert "average pooling of the stages blocks.3, blocks.6, one linear layer" in card_of(version)
    assert "validated as a location of the finding for: Effusion." in card_of(version)
    version.manifest |= {"architecture": "vit_small_patch14_dinov2", "grid": [1, 1]}
    assert "Neural network (vit_small_patch14_dinov2), the network's own pooling" in card_of(version)
    assert "There are no maps" in card_of(version)
    assert "a map for each" not in card_of(version)


def card_of(version: ModelVersion) -> str:
    return " ".join(f"{row}" for section in statements(version, []) if section.table for row in section.table.rows)
