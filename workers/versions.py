"""The versions that an inference worker reads with: those in service, and the challengers on trial."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from apps.deployment.models import Challenger
from apps.deployment.selectors import deployments, open_challengers
from apps.inference.services import Canary
from apps.inference.version_cache import InService, LoadedVersion, Scope, VersionCache
from apps.registry.models import ModelVersion

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeployedVersions:
    """The deployments and challengers at one time, and what of them is loaded; falsy where nothing in service is.

    The jobs of tenants for which no version is loaded wait, and a challenger that is not loaded reads nothing.
    """

    pointers: Mapping[Scope, UUID] = field(default_factory=dict)
    challengers: Mapping[Scope, Challenger] = field(default_factory=dict)
    found: InService = field(default_factory=lambda: InService({}, {}, []))

    def __bool__(self) -> bool:
        return bool(self.found.versions)

    def holding(self, version_id: UUID) -> LoadedVersion:
        held = (*self.found.versions.values(), *self.found.on_trial.values())
        return next(each for each in held if each.version.pk == version_id)

    @property
    def version(self) -> ModelVersion | None:
        """The version for tenants without a pin; this and the following are arguments of the claims."""
        return self._version_in(None)

    @property
    def pins(self) -> dict[UUID, ModelVersion | None]:
        return {scope: self._version_in(scope) for scope in self.pointers if scope is not None}

    def _version_in(self, scope: Scope) -> ModelVersion | None:
        loaded = self.found.versions.get(scope)
        return loaded.version if loaded else None

    @property
    def canaries(self) -> dict[Scope, Canary | None]:
        return {scope: self._canary(each) for scope, each in self.challengers.items()}

    def _canary(self, challenger: Challenger) -> Canary | None:
        loaded = self.found.on_trial.get(challenger.model_version_id)
        if loaded is None or challenger.percent is None:
            return None
        return Canary(challenger.pk, challenger.percent, loaded.version)

    @property
    def shadows(self) -> dict[UUID, UUID]:
        """The version of each shadow by the challenger's id."""
        shadows = (each for each in self.challengers.values() if each.mode == Challenger.Mode.SHADOW)
        return {each.pk: each.model_version_id for each in shadows if each.model_version_id in self.found.on_trial}

    @property
    def modes(self) -> dict[UUID, str]:
        return {each.model_version_id: each.mode for each in self.challengers.values()}


class WorkerVersions:
    """Follows the deployments with a `VersionCache`.

    Thread-safety: one thread at a time calls `deployed` or `settle`, which replace one immutable object; `state` reads
    it in any thread.
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
        while not self._deployed and self._deployed.found.wait():
            self._refresh()
        return self._deployed

    def settle(self) -> None:
        """Wait until all versions in service are loaded, or refused and their former versions loaded."""
        self._refresh()
        while self._deployed.found.wait():
            self._refresh()

    def _refresh(self) -> None:
        # In this order: a challenger that is promoted meanwhile is found twice and stays loaded.
        challengers, pointers = open_challengers(), deployments()
        on_trial = [each.model_version_id for each in challengers.values()]
        before, found = self._deployed.found, self._cache.in_service(pointers, on_trial=on_trial)
        self._deployed = DeployedVersions(pointers, challengers, found)
        if (found.versions, found.on_trial) != (before.versions, before.on_trial):
            logger.info("Serving %s.", ", ".join(sorted({str(each.version) for each in found.versions.values()})))
            self._on_change()

    def state(self) -> dict[str, Any]:
        """The fields of the worker's row that describe its versions."""
        deployed = self._deployed
        serving, modes = deployed.found.versions, deployed.modes
        wanted, used = {*deployed.pointers.values(), *modes}, {each.version.pk for each in serving.values()}
        versions = []
        for each in self._cache.states():
            pk, state = each.version.pk, each.state
            if state == "loaded":
                state = "serving" if pk in used else modes.get(pk, "kept for a rollback")
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
