"""The versions that an inference worker reads with: those in service, and the challengers on trial."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from apps.deployment.models import Challenger
from apps.deployment.selectors import deployments, open_challengers
from apps.inference.services import Canary
from apps.inference.version_cache import DeploymentScope, InService, LoadedVersion, VersionCache
from apps.registry.models import ModelVersion

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeployedVersions:
    """The deployments and challengers at one time, and their loaded versions. False if no version in service is loaded.

    The jobs of tenants for which no version is loaded wait, and a challenger that is not loaded reads nothing.
    """

    pointers: Mapping[DeploymentScope, UUID] = field(default_factory=dict)
    challengers: Mapping[DeploymentScope, Challenger] = field(default_factory=dict)
    in_service: InService = field(default_factory=lambda: InService({}, {}, []))

    def __bool__(self) -> bool:
        return bool(self.in_service.versions)

    def loaded_version(self, version_id: UUID) -> LoadedVersion:
        loaded = (*self.in_service.versions.values(), *self.in_service.on_trial.values())
        return next(each for each in loaded if each.version.pk == version_id)

    @property
    def default_version(self) -> ModelVersion | None:
        """The version for tenants without a pin. It and the properties below are passed to the claims."""
        return self._version_in(None)

    @property
    def pins(self) -> dict[UUID, ModelVersion | None]:
        return {scope: self._version_in(scope) for scope in self.pointers if scope is not None}

    def _version_in(self, scope: DeploymentScope) -> ModelVersion | None:
        loaded = self.in_service.versions.get(scope)
        return loaded.version if loaded else None

    @property
    def canaries(self) -> dict[DeploymentScope, Canary | None]:
        return {scope: self._canary(each) for scope, each in self.challengers.items()}

    def _canary(self, challenger: Challenger) -> Canary | None:
        loaded = self.in_service.on_trial.get(challenger.model_version_id)
        if loaded is None or challenger.percent is None:
            return None
        return Canary(challenger.pk, challenger.percent, loaded.version)

    @property
    def shadows(self) -> dict[UUID, UUID]:
        """The version of each shadow by the challenger's id."""
        shadows = (each for each in self.challengers.values() if each.mode == Challenger.Mode.SHADOW)
        return {each.pk: each.model_version_id for each in shadows if each.model_version_id in self.in_service.on_trial}

    @property
    def modes(self) -> dict[UUID, str]:
        return {each.model_version_id: each.mode for each in self.challengers.values()}


class WorkerVersions:
    """Follows the deployments with a `VersionCache`.

    Thread-safety: one thread at a time calls `deployed` or `wait_until_loaded`, which replace one immutable object;
    `state` reads it in any thread.
    """

    def __init__(self, device: str, on_change: Callable[[], None]) -> None:
        self._cache = VersionCache(device=device, on_change=on_change)
        self._on_change = on_change
        self._deployed = DeployedVersions()

    def close(self) -> None:
        self._cache.close()

    def deployed(self) -> DeployedVersions:
        """Read the deployments, and return what to use until the next call; wait only where nothing is loaded.

        A tenant whose new version is not loaded, or cannot be, keeps its former one (`VersionCache.in_service`).
        """
        self._refresh()
        while not self._deployed and self._deployed.in_service.wait():
            self._refresh()
        return self._deployed

    def wait_until_loaded(self) -> None:
        """Wait until all versions in service are loaded, or refused and their former versions loaded."""
        self._refresh()
        while self._deployed.in_service.wait():
            self._refresh()

    def _refresh(self) -> None:
        # Query challengers before deployments: a version promoted between the two queries is then in both results and
        # stays loaded.
        challengers, pointers = open_challengers(), deployments()
        on_trial = [each.model_version_id for each in challengers.values()]
        before, in_service = self._deployed.in_service, self._cache.in_service(pointers, on_trial=on_trial)
        self._deployed = DeployedVersions(pointers, challengers, in_service)
        if (in_service.versions, in_service.on_trial) != (before.versions, before.on_trial):
            logger.info(
                "Versions in service: %s; challengers loaded: %s.",
                _names(in_service.versions.values()),
                _names(in_service.on_trial.values()),
            )
            self._on_change()

    def state(self) -> dict[str, Any]:
        """The fields of the worker's row that describe its versions."""
        deployed = self._deployed
        serving, modes = deployed.in_service.versions, deployed.modes
        wanted, serving_ids = {*deployed.pointers.values(), *modes}, {each.version.pk for each in serving.values()}
        versions = []
        for each in self._cache.states():
            pk, state = each.version.pk, each.state
            if state == "loaded":
                state = "serving" if pk in serving_ids else modes.get(pk, "kept for a rollback")
            if state != "refused" or pk in wanted:
                entry = {"version": str(each.version), "state": state, "wanted": pk in wanted, "reason": each.reason}
                versions.append(entry)
        error = "; ".join(f"{each['version']}: {each['reason']}" for each in versions if each["reason"])
        if not deployed.pointers:
            error = "No model version is in service: an operator must activate one."
        first = serving.get(None) or next(iter(serving.values()), None)
        return {
            "model_version": first.version if first else None,
            "device": first.predictor.runs_on if first else "",
            "error": error,
            "versions": sorted(versions, key=lambda entry: str(entry["version"])),
        }


def _names(loaded: Iterable[LoadedVersion]) -> str:
    return ", ".join(sorted({str(each.version) for each in loaded})) or "none"
