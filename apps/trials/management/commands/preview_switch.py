"""Preview a switch: count what another version would change for one tenant."""

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from apps.audit.services import command_actor
from apps.core.errors import ChecxrayError
from apps.deployment.models import PreviewJob, SwitchPreview
from apps.registry.services import find_version
from apps.tenants.services import find_tenant
from apps.trials.preview import preview_switch


class Command(BaseCommand):
    help = "Let name:number read a tenant's last studies and count what would change. No clinician sees the results."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", help="name:number")
        parser.add_argument("--tenant", metavar="SLUG", required=True)
        parser.add_argument("--last", type=_positive, default=200, metavar="N", help="how many studies (default: 200)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with tqdm(unit="study", disable=None, leave=False) as bar:
                preview = preview_switch(
                    tenant=find_tenant(options["tenant"]),
                    version=find_version(options["version"]),
                    last=options["last"],
                    by=command_actor(),
                    progress=lambda done, of: _show(bar, done, of),
                )
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(_table(preview))


def _positive(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= PreviewJob.MOST:
        raise ArgumentTypeError(f"give a number of studies between 1 and {PreviewJob.MOST}")
    return int(text)


def _show(bar: Any, done: int, of: int) -> None:
    bar.total = of
    bar.update(done - bar.n)


def _table(preview: SwitchPreview) -> str:
    report = preview.report
    lines = [
        f"{preview}; {report['refused']} films refused by {preview.to_version}.",
        f"{'':<20}{'threshold':>19}{'flagged':>15}{'new':>6}{'gone':>6}{'unmoved':>9}",
    ]
    for label, entry in report["labels"].items():
        points = f"{_number(entry['threshold_before'])} → {_number(entry['threshold_after'])}"
        flagged = f"{entry['flagged_before']} → {entry['flagged_after']}"
        lines.append(
            f"{label:<20}{points:>19}{flagged:>15}{entry['turned_on']:>6}{entry['turned_off']:>6}"
            f"{entry['flagged_at_former_threshold']:>9}"
        )
    lines += [f"{label}: {entry['note']}" for label, entry in report["labels"].items() if label in report["points"]]
    return "\n".join([*lines, "unmoved: flagged if only the version changed and not its threshold.", preview.sha256])


def _number(threshold: float | None) -> str:
    return "none" if threshold is None else f"{threshold:.3f}"
