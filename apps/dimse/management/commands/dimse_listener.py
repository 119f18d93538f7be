"""Runs the DIMSE listener in the foreground."""

import signal
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.dimse.listener import running_listener
from apps.tenants.checks import require_safe_start

_ENDING = {signal.SIGTERM, signal.SIGINT}


class Command(BaseCommand):
    help = "Serve the DICOM peers that each tenant lists (C-STORE, C-FIND, C-MOVE, C-GET); runs until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.DIMSE_HOST)
        parser.add_argument("--port", type=int, default=settings.DIMSE_PORT)

    def handle(self, *args: Any, **options: Any) -> None:
        require_safe_start()
        # Block the signals in every thread and wait for them here: a handler would run only when the main thread wakes.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            with running_listener(options["host"], options["port"]) as listener:
                if listener.port:
                    self.stdout.write(f"DIMSE listener ready on {options['host']}:{listener.port}")
                if listener.tls_port:
                    self.stdout.write(f"DIMSE listener ready with TLS on {options['host']}:{listener.tls_port}")
                self.stdout.flush()
                signal.sigwait(_ENDING)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(
                f"Port {options['port']} of {options['host']}, or its TLS port, cannot be listened on "
                f"({error.strerror}): set DIMSE_PORT or DIMSE_TLS_PORT."
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
