"""The portal in the language of the person, the hospital or the browser; and the texts that readers insert."""

from collections.abc import Callable

from django.test import Client

from apps.accounts.models import User
from apps.reading.models import ReadingPolicy, TextBlock
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital


def test_a_persons_choice_goes_before_the_hospitals_and_that_before_the_browsers(
    north: Hospital, south: Hospital, sign_in: Callable[..., Client]
) -> None:
    german = {"headers": {"accept-language": "de-AT,de;q=0.9"}}
    assert "Bei Checxray anmelden" in Client(**german).get("/sign-in/").text
    assert 'lang="en"' in Client(headers={"accept-language": "fr"}).get("/sign-in/").text
    with tenant_tx(north.tenant.id):
        ReadingPolicy.objects.create(language="es", time_zone="Europe/Madrid")
    reader = sign_in(north, north.radiologist)
    page = reader.get("/my-settings/", **german)
    assert 'lang="es"' in page.text
    assert "Lista de trabajo" in page.text
    assert "En investigación. No apto para uso diagnóstico." in page.text
    assert '"Read by AI": ["Le\\u00eddo por la IA"]' in page.text, "The scripts have their texts."
    assert page["Content-Language"] == "es"
    assert "Worklist" in sign_in(south, south.radiologist).get("/my-settings/", **german).text
    assert "Gespeichert." in reader.post("/my-settings/", {"language": "de"}, follow=True).text
    assert User.objects.get(pk=north.radiologist.pk).language == "de"
    refused = reader.get("/settings/people/")
    assert refused.status_code == 403
    assert "Dafür ist in diesem Haus die Rolle" in refused.text
    assert "There is no such" in reader.get("/api/v1/studies/1.2.3/").json()["detail"], "Programs read English."
    assert reader.post("/my-settings/", {"language": "xx"}).status_code == 200
    assert User.objects.get(pk=north.radiologist.pk).language == "de"


def test_readers_and_hospitals_keep_texts(north: Hospital, south: Hospital, sign_in: Callable[..., Client]) -> None:
    reader, admin = sign_in(north, north.radiologist), sign_in(north, north.admin)
    saved = admin.post("/settings/texts/", {"name": ".Normal", "text": "Heart and lungs normal."}, follow=True).text
    assert "Saved: type .normal and press Tab to insert it." in saved
    assert "name already" in admin.post("/settings/texts/", {"name": "normal", "text": "x"}).text
    assert "begins with a letter" in reader.post("/my-settings/texts/", {"name": "a b", "text": "x"}).text
    assert "Heart and lungs" not in reader.get("/my-settings/texts/").text
    reader.post("/my-settings/texts/", {"name": "normal", "text": "Mine."})
    with tenant_tx(north.tenant.id):
        own = TextBlock.objects.get(owner=north.radiologist)
        ours = TextBlock.objects.get(owner=None)
    assert admin.get(f"/my-settings/texts/{own.pk}/").status_code == 403
    assert admin.get(f"/settings/texts/{own.pk}/").status_code == 404, "A person's own text is no text of the hospital."
    assert sign_in(south, south.admin).get(f"/settings/texts/{ours.pk}/").status_code == 404
    reader.post(f"/my-settings/texts/{own.pk}/", {"name": "normal", "text": "Changed."})
    with tenant_tx(north.tenant.id):
        assert TextBlock.objects.get(pk=own.pk).text == "Changed."
    assert ".normal is removed." in reader.post(f"/my-settings/texts/{own.pk}/", {"remove": "1"}, follow=True).text


def test_a_text_is_inserted(north: Hospital, read_study: Callable[..., Study], sign_in: Callable[..., Client]) -> None:
    study = read_study(north, Effusion=0.71)
    with tenant_tx(north.tenant.id):
        block = TextBlock.objects.create(name="ct", text="CT advised.")
    reader = sign_in(north, north.radiologist)
    at, asks = f"/studies/{study.pk}/insert/", {"headers": {"accept": "application/json"}}
    assert reader.post(at, {"text": str(block.pk)}, **asks).json() == {"text": "CT advised."}
    assert reader.post(at, {"text": "findings"}, **asks).status_code == 409, "Nothing is agreed yet."
    normal = reader.post(at, {"text": "normal"}, **asks).json()["text"]
    assert normal.startswith("No evidence of ")
    assert "effusion" not in normal, "Flagged and undecided."
    assert reader.post(at, {"text": "nothing"}, **asks).status_code == 400
    reader.post(at, {"text": str(block.pk), "impression": "Clear.", "revision": "0"})
    with tenant_tx(north.tenant.id):
        assert study.report_drafts.get().impression == "Clear.\nCT advised."
