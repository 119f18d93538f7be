"""Preview, put into force and take back the recalibration of a tenant's probabilities."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.services import command_actor
from apps.core.errors import ChecxrayError, InvalidInputError, UnavailableError
from apps.deployment.models import Recalibration
from apps.deployment.selectors import version_for
from apps.deployment.services import apply_recalibration, undo_recalibration
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_tenant
from apps.trials.recalibration import propose_from_verdicts, propose_own, propose_prevalence


class Command(BaseCommand):
    help = (
        "Fit the probabilities of the version that serves a tenant to its patients: by the prevalence that you "
        "declare, or by the verdicts of at least 200 signed studies. What is flagged stays the same. Without "
        "--apply it only prints what would change."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", required=True)
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            "--prevalence", nargs="+", metavar="FINDING=SHARE", help="for example Effusion=0.08 Pneumothorax=0.01"
        )
        what.add_argument("--from-verdicts", action="store_true", help="fit on the readers' verdicts")
        what.add_argument("--own", action="store_true", help="return to the version's own probabilities")
        what.add_argument("--undo", action="store_true", help="put back what was in force before the last change")
        parser.add_argument("--apply", action="store_true", help="put it into force; needs --reason")
        parser.add_argument("--reason", default="", help="why; kept in the ledger")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._run(options)
        except ChecxrayError as error:
            raise CommandError(error.detail) from error

    def _run(self, options: dict[str, Any]) -> None:
        tenant = find_tenant(options["tenant"])
        version = version_for(tenant.pk)
        if version is None:
            raise UnavailableError("No model version is in service: activate one first.")
        if options["apply"] and not options["reason"]:
            raise InvalidInputError("Give the reason of the change: --reason TEXT.", "reason-missing")
        arguments: dict[str, Any] = {"tenant": tenant, "version": version, "by": command_actor()}
        if options["undo"]:
            entry = undo_recalibration(**arguments, reason=options["reason"])
            self.stdout.write(f"In force: {entry.recalibration or f'the own probabilities of {version}'}.")
            return
        with tenant_tx(tenant.pk):
            if options["from_verdicts"]:
                proposed = propose_from_verdicts(**arguments)
            elif options["own"]:
                proposed = propose_own(**arguments)
            else:
                proposed = propose_prevalence(**arguments, declared=_declared(options["prevalence"]))
        self._print(proposed)
        if options["apply"]:
            entry = apply_recalibration(recalibration=proposed, by=command_actor(), reason=options["reason"])
            self.stdout.write(f"In force from the next result on: ledger entry {entry.number}.")
        else:
            self.stdout.write("Nothing was changed: add --apply and --reason TEXT.")

    def _print(self, proposed: Recalibration) -> None:
        self.stdout.write(f"{proposed}, on {proposed.preview['studies']} recent studies of {proposed.for_tenant}:")
        self.stdout.write(f"{'finding':<20} {'mean probability':<18} {'flagged from':<18} flagged")
        for label, counts in proposed.preview["labels"].items():
            now, then = counts["now"], counts["then"]
            cells = [f"{_number(now[name])} → {_number(then[name])}" for name in ("mean", "threshold")]
            note = proposed.evidence.get(label, {}).get("note", "")
            flags = f"{now['flagged']} → {then['flagged']}"
            self.stdout.write(f"{label:<20} {cells[0]:<18} {cells[1]:<18} {flags}  {note}".rstrip())


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _declared(given: list[str]) -> dict[str, float]:
    found = {}
    for each in given:
        label, _, share = each.partition("=")
        try:
            found[label] = float(share)
        except ValueError as error:
            raise InvalidInputError(f"{each!r} is not FINDING=SHARE, such as Effusion=0.08.") from error
    return found
