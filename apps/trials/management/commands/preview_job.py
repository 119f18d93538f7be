"""Make one preview that the jobs worker has claimed, in a child process of the worker."""

import logging
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import ConflictError, UnavailableError
from apps.core.retry import outage_of
from apps.deployment.models import PreviewJob
from apps.deployment.services import PREVIEWS, held_preview, note_progress
from apps.registry import engine
from apps.trials.preview import read_with_candidate
from apps.trials.services import complete_preview

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "For the jobs worker: make a preview that it has claimed. Ends when standard input closes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", type=UUID)
        parser.add_argument("fence", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        engine.end_with_stdin()
        job = held_preview(job_id=options["job"], fence=options["fence"])
        if job is None:
            raise CommandError("No worker holds this preview under this fence: request a preview in the console.")
        try:
            _preview(job)
        except ConflictError as error:
            PREVIEWS.reject(job=job, reason=error.detail)
        except UnavailableError as error:
            PREVIEWS.fail(job=job, code=outage_of(error) or error.code, reason=error.detail)
        # The text may quote patient data, so the row, which operators read, gets only the name of the error.
        except Exception as error:
            logger.exception("The preview %s failed.", job.pk)
            PREVIEWS.fail(job=job, reason=f"{type(error).__name__}: see the logs of the jobs worker.")


def _preview(job: PreviewJob) -> None:
    serving, probabilities = read_with_candidate(
        tenant=job.for_tenant,
        version=job.model_version,
        last=job.last,
        progress=lambda done, of: note_progress(job=job, done=done, of=of),
    )
    complete_preview(job=job, from_version=serving, probabilities=probabilities)
