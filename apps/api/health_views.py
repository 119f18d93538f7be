"""The views ``/healthz``, ``/readyz`` and ``/metrics`` for orchestrators and monitoring; they need no tenant."""

import os
import secrets
from dataclasses import asdict
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from apps.api.collector import DatabaseCollector
from apps.api.readiness import readiness
from apps.core.problems import problem_response


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process is alive. The database is not checked: its failure must not restart web processes."""
    return _not_cached(JsonResponse({"status": "alive"}))


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    found = readiness()
    ready = all(check.ok for check in found.checks.values())
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    body = {
        "status": "ready" if ready else "unavailable",
        "checks": {name: asdict(check) for name, check in found.checks.items()},
        "warnings": found.warnings,
    }
    return _not_cached(JsonResponse(body, status=status))


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    token = settings.METRICS_TOKEN
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token and not secrets.compare_digest(given.encode(), token.encode()):
        response: HttpResponse = problem_response(
            HTTPStatus.UNAUTHORIZED, "Send the token of METRICS_TOKEN as a bearer.", "not-authenticated"
        )
        response["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return response
    return _not_cached(HttpResponse(_exposition(), content_type=CONTENT_TYPE_LATEST))


def _exposition() -> bytes:
    platform = CollectorRegistry()
    platform.register(DatabaseCollector())
    processes = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        # Several web processes answer in turn: they share their counters in files.
        processes = CollectorRegistry()
        MultiProcessCollector(processes)  # type: ignore[no-untyped-call]
    return generate_latest(processes) + generate_latest(platform)


def _not_cached(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    return response
