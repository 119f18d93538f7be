"""Probabilities fitted to a hospital: previewed, put into force, taken back; what is flagged never changes."""

import io
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError
from apps.deployment.models import Activation, Recalibration
from apps.deployment.points import PointChoice
from apps.deployment.selectors import recalibration_for, thresholds_for
from apps.deployment.services import activate, apply_recalibration, roll_back, set_points
from apps.inference.models import Finding, InferenceJob
from apps.reports.contents import contents_of
from apps.reports.models import Report
from apps.results.contents import results_of
from apps.tenants.scope import tenant_tx
from apps.trials.recalibration import propose_from_verdicts, propose_own, propose_prevalence
from apps.trials.recent import recent_readings
from ml.labels import LABELS
from tests.conftest import PASSWORD
from tests.registry.versions import registered
from tests.result_objects.conftest import objects, want
from tests.results import read, version
from tests.trials.reviewed import read_studies_as_rows, sign_with_verdicts

__all__ = ["read", "version"]

PAGE = reverse("portal:probabilities")
BY = Actor(name="test")


@pytest.fixture
def calibrated(version: Any) -> Any:
    """The version with a record of its own prevalence: 10 % of 1,000 films, except Hernia, which is not recorded."""
    counts = {label: {"positives": 100} for label in LABELS if label != "Hernia"}
    version.manifest["metrics"]["validation"] = {"n": 1000, "labels": counts}
    version.save()
    return version


def findings_of(hospital: Any, study: Any) -> dict[str, Finding]:
    with tenant_tx(hospital.tenant.pk):
        return {each.label: each for each in Finding.objects.filter(job__study=study)}


def test_a_declared_prevalence_from_the_preview_to_the_way_back(
    north: Any, south: Any, calibrated: Any, store_film: Any, read: Any, sign_in: Any
) -> None:
    before = store_film(north, seed=1, size=256)
    read(before.instance, Mass=0.7)
    admin = sign_in(north, north.admin)
    assert b"The own probabilities of chest-net:3" in admin.get(PAGE).content
    assert "Give the prevalence" not in admin.get(PAGE).content.decode()
    wrong = admin.post(PAGE, {"method": "prevalence", "Mass": "2"})
    assert (wrong.status_code, Recalibration.objects.count()) == (200, 0)
    assert b"Declare the prevalence of at least one" in admin.post(PAGE, {"method": "prevalence"}).content

    preview = admin.post(PAGE, {"method": "prevalence", "Mass": "0.01"})["Location"]
    shown = admin.get(preview).content.decode()
    assert "0.700 → 0.175" in shown
    assert "0.500 → 0.083" in shown
    assert "1 → 1" in shown
    assert recalibration_for(calibrated, north.tenant.pk) is None
    assert sign_in(south, south.admin).get(preview).status_code == 404
    assert sign_in(south, south.admin).post(preview, {"reason": "Mine."}).status_code == 404
    assert admin.post(preview, {"reason": "Audit of 2026."}).status_code == 302

    line = Activation.objects.first()
    assert line is not None
    proposed = Recalibration.objects.get()
    assert (line.act, line.recalibration, line.recalibration_before) == ("recalibrated", proposed, None)
    assert line.previews == {str(north.tenant.pk): proposed.sha256}
    with tenant_tx(north.tenant.pk):
        assert AuditEvent.objects.get(action="probabilities.recalibrated").object_id == line.pk

    # The result moves, with its operating point; what is flagged does not, and other findings and hospitals stay.
    films = [store_film(hospital, seed=2, size=256) for hospital in (north, south)]
    for film in films:
        read(film.instance, Mass=0.7, Nodule=0.7)
    mine, theirs = findings_of(north, films[0].study), findings_of(south, films[1].study)
    assert mine["Mass"].probability == pytest.approx(0.175, abs=1e-3)
    assert mine["Mass"].threshold == pytest.approx(0.083, abs=1e-3)
    assert (mine["Nodule"].probability, mine["Nodule"].threshold) == (0.7, 0.5)
    assert (theirs["Mass"].probability, theirs["Mass"].threshold) == (0.7, 0.5)
    assert {label for label, each in mine.items() if each.positive} == {"Mass", "Nodule"}
    with tenant_tx(north.tenant.pk):
        values = [each.probabilities["Mass"] for each in recent_readings(version=calibrated, last=9)]
    assert values == pytest.approx([0.7, 0.7])
    assert "0.083" in admin.get(reverse("portal:points")).content.decode()
    described = admin.get(reverse("api:model", args=["chest-net", 3]), headers=north.bearer).json()
    assert described["thresholds"]["Mass"]["value"] == pytest.approx(0.083, abs=1e-3)
    assert described["calibration"]["Mass"]["b"] == pytest.approx(np.log(0.01 / 0.99) - np.log(0.1 / 0.9))

    # A threshold set by hand is on the scale that the page shows.
    manual = {"strategy": "manual", "value": "0.175", "reason": "Fewer.", "version": "chest-net:3"}
    assert admin.post(reverse("portal:point", args=["Mass"]), manual).status_code == 302
    assert thresholds_for(calibrated, north.tenant.pk)["Mass"] == pytest.approx(0.7, abs=1e-3)

    assert admin.post(reverse("portal:undo-recalibration")).status_code == 302
    assert recalibration_for(calibrated, north.tenant.pk) is None
    after = store_film(north, seed=3, size=256)
    read(after.instance, Mass=0.72)
    assert findings_of(north, after.study)["Mass"].probability == 0.72
    assert findings_of(north, films[0].study)["Mass"].probability == pytest.approx(0.175, abs=1e-3)
    assert sign_in(north, north.radiologist).get(PAGE).status_code == 403


def test_each_place_says_that_the_study_level_score_is_not_recalibrated(
    north: Any, south: Any, calibrated: Any, store_film: Any, read: Any, sign_in: Any
) -> None:
    with tenant_tx(north.tenant.pk):
        proposed = propose_prevalence(tenant=north.tenant, version=calibrated, declared={"Mass": 0.01}, by=BY)
    apply_recalibration(recalibration=proposed, by=BY, reason="Audit.")
    for hospital, is_said in ((north, True), (south, False)):
        film = store_film(hospital, seed=2, size=256)
        read(film.instance, Mass=0.7)
        radiologist = sign_in(hospital, hospital.radiologist)
        assert ("(not recalibrated)" in radiologist.get("/").text) is is_said
        page = radiologist.get(reverse("portal:study", args=[film.study.pk])).text
        assert ("This score is not recalibrated" in page) is is_said
        want(hospital, secondary_capture=True, structured_report=True)
        made = objects(hospital, film.study)
        assert (b"is on the version's own scale" in made["structured-report"].data) is is_said
        with tenant_tx(hospital.tenant.pk):
            job = InferenceJob.objects.get(study=film.study)
            contents = contents_of(Report(study=film.study, job=job))
            (result,) = results_of(film.study.pk)
        assert contents.ai is not None
        assert ("This score is not recalibrated" in contents.ai.abnormal) is is_said
        assert result.content.is_recalibrated is is_said


def test_an_outdated_preview_is_refused_and_the_other_findings_keep_theirs(north: Any, calibrated: Any) -> None:
    def propose(**declared: float) -> Recalibration:
        with tenant_tx(north.tenant.pk):
            return propose_prevalence(tenant=north.tenant, version=calibrated, declared=declared, by=BY)

    first, second = propose(Mass=0.01), propose(Nodule=0.3)
    apply_recalibration(recalibration=first, by=BY, reason="a")
    with pytest.raises(ConflictError, match="preview it again"):
        apply_recalibration(recalibration=second, by=BY, reason="b")
    third = propose(Nodule=0.3)
    assert third.fits.keys() == {"Mass", "Nodule"}
    apply_recalibration(recalibration=third, by=BY, reason="c")
    with pytest.raises(InvalidInputError, match="Hernia: chest-net:3 does not record"):
        propose(Hernia=0.1)
    with pytest.raises(InvalidInputError, match="share from"):
        propose(Mass=1.0)
    # A rollback of points or of the version leaves the probabilities alone, and a version has its own.
    set_points(
        tenant=north.tenant, version=calibrated, by=BY, recent={},
        choices={"Mass": PointChoice("manual", value=0.6, reason="x")},
    )  # fmt: skip
    roll_back(by=BY, tenant=north.tenant)
    assert recalibration_for(calibrated, north.tenant.pk) == third
    other = registered(2)
    activate(version=other, by=BY, keeps_points=False)
    assert recalibration_for(other, north.tenant.pk) is None
    with pytest.raises(ConflictError, match="serves North Hospital now"):
        apply_recalibration(recalibration=first, by=BY, reason="d")


def test_recalibration_from_verdicts(north: Any, south: Any, calibrated: Any) -> None:
    """A version that says 0.6 where 30 % have the finding, and 0.2 where 5 % have it."""
    random = np.random.default_rng(1)
    high = random.random(250) < 0.5
    there = np.where(high, random.random(250) < 0.3, random.random(250) < 0.05)
    jobs = read_studies_as_rows(
        north, calibrated, [{"Mass": 0.6 if each else 0.2, "Nodule": 0.6 if each else 0.2} for each in high]
    )
    sign_with_verdicts(north, jobs[:199], [{"Mass": bool(each)} for each in there[:199]])
    with tenant_tx(north.tenant.pk), pytest.raises(InvalidInputError, match="199 signed studies"):
        propose_from_verdicts(tenant=north.tenant, version=calibrated, by=BY)
    # Nodule is reviewed only where it was flagged.
    truth = [
        {"Mass": bool(each)} | ({"Nodule": bool(each)} if flagged else {})
        for each, flagged in zip(there[199:], high[199:], strict=True)
    ]
    sign_with_verdicts(north, jobs[199:], truth)
    with tenant_tx(north.tenant.pk):
        proposed = propose_from_verdicts(tenant=north.tenant, version=calibrated, by=BY)
    fit = proposed.evidence["Mass"]
    assert (fit["n"], fit["present"]) == (250, int(there.sum()))
    assert fit["error_after"] < fit["error_before"] / 2
    assert proposed.shown("Mass", 0.6) == pytest.approx(there[high].mean(), abs=0.05)
    assert proposed.fits.keys() == {"Mass"}
    assert "verdicts, and 200 are needed" in proposed.evidence["Nodule"]["note"]
    mass = proposed.preview["labels"]["Mass"]
    assert mass["now"]["flagged"] == mass["then"]["flagged"] == int(high.sum())
    with tenant_tx(south.tenant.pk), pytest.raises(InvalidInputError, match="0 signed studies"):
        propose_from_verdicts(tenant=south.tenant, version=calibrated, by=BY)


def test_the_operator_recalibrates_by_command(north: Any, calibrated: Any, settings: Any, sign_in: Any) -> None:
    def run(*arguments: str) -> str:
        out = io.StringIO()
        call_command("recalibrate", "--tenant", "north", *arguments, stdout=out)
        return out.getvalue()

    assert "Nothing was changed" in run("--prevalence", "Mass=0.01")
    assert recalibration_for(calibrated, north.tenant.pk) is None
    with pytest.raises(CommandError, match="--reason"):
        run("--prevalence", "Mass=0.01", "--apply")
    with pytest.raises(CommandError, match="FINDING=SHARE"):
        run("--prevalence", "Mass:0.01")
    assert "ledger entry 2" in run("--prevalence", "Mass=0.01", "--apply", "--reason", "Audit.")
    with tenant_tx(north.tenant.pk):
        own = propose_own(tenant=north.tenant, version=calibrated, by=BY)
    apply_recalibration(recalibration=own, by=BY, reason="Back.")
    assert "Recalibration 3" not in run("--undo")
    assert recalibration_for(calibrated, north.tenant.pk).fits.keys() == {"Mass"}  # type: ignore[union-attr]
    operator = Client()
    operator.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    first = Recalibration.objects.filter(method="prevalence").last()
    assert first is not None
    page = operator.get(reverse("admin:deployment_recalibration_change", args=[first.pk])).content.decode()
    assert "-2.398" in page
    entry = Activation.objects.get(number=2)
    assert (
        "Recalibration 2"
        in operator.get(reverse("admin:deployment_activation_change", args=[entry.pk])).content.decode()
    )
    settings.HOSPITALS_SET_POINTS = False
    admin = sign_in(north, north.admin)
    assert b"the operator sets the probabilities" in admin.get(PAGE).content
    assert admin.post(PAGE, {"method": "own"}).status_code == 403
