"""The model versions that one worker holds: a new version is loaded beside the old one, and then replaces it.

The deployments name the versions. Challengers are loaded after them; no job waits for a challenger.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections

from apps.deployment.ledger.rollback import former_version
from apps.deployment.models import Challenger
from apps.deployment.selectors import deployments_and_challengers
from apps.inference.loading import load_version
from apps.inference.services import Canary
from apps.registry import engine
from apps.registry.models import ModelVersion

logger = logging.getLogger(__name__)
# A version that could not be loaded is tried again after this time, not before each batch; a damaged one less often.
_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 30.0, 900.0
# The former version stays loaded, so that a rollback does not wait.
_SPARES = 1


@dataclass(frozen=True, eq=False)
class Loaded:
    version: ModelVersion
    predictor: engine.Predictor


@dataclass(frozen=True)
class Serving:
    """The loaded versions: ``pins`` for tenants with a version of their own, ``everyone`` for all others.

    None stands for tenants for which no version is loaded: their jobs wait. ``canaries`` are as in `claim_jobs`;
    ``shadows`` has the version of each shadow, by the challenger's id. Both contain only loaded challengers, which are
    in ``trials`` by the version's id.
    """

    everyone: Loaded | None = None
    pins: Mapping[UUID, Loaded | None] = field(default_factory=dict)
    canaries: Mapping[UUID | None, Canary | None] = field(default_factory=dict)
    shadows: Mapping[UUID, UUID] = field(default_factory=dict)
    trials: Mapping[UUID, Loaded] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.everyone, *self.pins.values()))

    def holding(self, version_id: UUID) -> Loaded:
        held = (self.everyone, *self.pins.values(), *self.trials.values())
        return next(each for each in held if each and each.version.pk == version_id)


@dataclass(frozen=True)
class _Refusal:
    reason: str
    pause: float
    retry_at: float

    @classmethod
    def of(cls, error: Exception, before: "_Refusal | None") -> "_Refusal":
        # A damaged artifact stays damaged; an outage of the storage, or a full GPU, passes.
        is_lasting = before is not None and isinstance(error, engine.ArtifactInvalid)
        pause = min(2 * before.pause, _LONGEST_RETRY_SECONDS) if before and is_lasting else _RETRY_SECONDS
        return cls(str(error)[:500], pause, time.monotonic() + pause)


class Fleet:
    """Loads versions in one background thread, one at a time; the other methods return quickly."""

    def __init__(self, device: str, on_change: Callable[[], None]) -> None:
        self._device = device
        self._on_change = on_change
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._lock = threading.Lock()
        self._wanted: Mapping[UUID | None, UUID] = {}
        self._current: dict[UUID | None, Loaded] = {}
        self._trials: dict[UUID, Loaded] = {}
        self._modes: dict[UUID, str] = {}
        self._loaded: OrderedDict[UUID, Loaded] = OrderedDict()
        self._loading: dict[UUID, Future[None]] = {}
        self._refused: dict[UUID, _Refusal] = {}
        self._formers: Mapping[UUID | None, UUID] = {}
        self._names: dict[UUID, str] = {}

    def close(self) -> None:
        self._loader.shutdown(cancel_futures=True)

    def serving(self) -> Serving:
        """Read the deployments and return the versions to use until the next call; wait only where none is loaded.

        A tenant whose new version is not loaded, or cannot be, keeps its former one. A worker that has just started
        and cannot load the version loads the former one of the activation ledger.
        """
        found = self._refresh()
        while not found and self._wait():
            found = self._refresh()
        return found

    def settle(self) -> None:
        """Wait until all versions in service are loaded, or refused and their former versions loaded."""
        self._refresh()
        while self._wait():
            self._refresh()

    def _wait(self) -> bool:
        """Wait for versions in service that are being loaded; return whether there were any."""
        with self._lock:
            needed = {*self._wanted.values(), *self._formers.values()}
            awaited = [self._loading[each] for each in needed if each in self._loading]
        wait(awaited)
        return bool(awaited)

    def _refresh(self) -> Serving:
        wanted, challengers = deployments_and_challengers()
        self._forget_retired(wanted)
        self._formers = self._formers_of(wanted)
        with self._lock:
            before = (self._current, self._trials)
            self._current = self._assigned(wanted)
            self._wanted = wanted
            self._trials = self._on_trial(challengers.values())
            self._drop_others()
            # The refusal of a version that is not needed is dropped, so that it is tried at once when needed again.
            needed = {*wanted.values(), *self._modes, *self._formers.values()}
            self._refused = {each: refusal for each, refusal in self._refused.items() if each in needed}
            changed = (self._current, self._trials) != before
            pins = {tenant_id: self._current.get(tenant_id) for tenant_id in wanted if tenant_id is not None}
            found = Serving(
                self._current.get(None), pins, self._canaries(challengers), self._shadows(challengers), self._trials
            )
        if changed:
            logger.info("Serving %s.", ", ".join(sorted({str(each.version) for each in self._current.values()})))
            self._on_change()
        return found

    def _forget_retired(self, wanted: Mapping[UUID | None, UUID]) -> None:
        """Stop using versions that were retired, where their successor is not loaded yet."""
        with self._lock:
            held = {each.version.pk for each in self._current.values()}
            if not held or all(version in self._loaded for version in wanted.values()):
                return
        retired = set(ModelVersion.objects.filter(pk__in=held).exclude(retired=None).values_list("pk", flat=True))
        with self._lock:
            self._current = {each: here for each, here in self._current.items() if here.version.pk not in retired}

    def _on_trial(self, challengers: Iterable[Challenger]) -> dict[UUID, Loaded]:
        found = {}
        self._modes = {}
        for each in challengers:
            self._modes[each.model_version_id] = each.mode
            loaded = self._loaded.get(each.model_version_id)
            if loaded is None:
                self._start_loading(each.model_version_id)
            else:
                found[each.model_version_id] = loaded
        return found

    def _canaries(self, challengers: Mapping[UUID | None, Challenger]) -> dict[UUID | None, Canary | None]:
        found: dict[UUID | None, Canary | None] = {}
        for tenant_id, each in challengers.items():
            loaded = self._trials.get(each.model_version_id)
            found[tenant_id] = None
            if loaded is not None and each.percent is not None:
                found[tenant_id] = Canary(each.pk, each.percent, loaded.version)
        return found

    def _shadows(self, challengers: Mapping[UUID | None, Challenger]) -> dict[UUID, UUID]:
        shadows = (each for each in challengers.values() if each.mode == Challenger.Mode.SHADOW)
        return {each.pk: each.model_version_id for each in shadows if each.model_version_id in self._trials}

    def _assigned(self, wanted: Mapping[UUID | None, UUID]) -> dict[UUID | None, Loaded]:
        assigned = {}
        for tenant_id, version_id in wanted.items():
            loaded = self._loaded.get(version_id)
            if loaded is None:
                self._start_loading(version_id)
                # Before a tenant had a pin, the platform's version read its studies.
                loaded = self._current.get(tenant_id if tenant_id in self._wanted else None)
                loaded = loaded or self._former(tenant_id)
            if loaded is not None:
                assigned[tenant_id] = loaded
        return assigned

    def _former(self, tenant_id: UUID | None) -> Loaded | None:
        former = self._formers.get(tenant_id)
        if former is None:
            return None
        if former not in self._loaded:
            self._start_loading(former)
        return self._loaded.get(former)

    def _formers_of(self, wanted: Mapping[UUID | None, UUID]) -> dict[UUID | None, UUID]:
        """The former versions for scopes whose version was refused and that have no loaded one."""
        with self._lock:
            refused = {each: version for each, version in wanted.items() if version in self._refused}
            lacking = [each for each in refused if self._current.get(each) is None]
        found = {each: former_version(each, refused[each]) for each in lacking}
        return {each: former.pk for each, former in found.items() if former is not None}

    def _drop_others(self) -> None:
        pointed = {loaded.version.pk for loaded in self._current.values()}
        # Challengers are dropped first: the spare is for a version that was in service.
        for version_id in self._trials:
            self._loaded.move_to_end(version_id, last=False)
        for version_id in pointed & self._loaded.keys():
            self._loaded.move_to_end(version_id)
        unused = [each for each in self._loaded if each not in pointed | self._trials.keys()]
        for version_id in unused[:-_SPARES]:
            del self._loaded[version_id]

    def _start_loading(self, version_id: UUID) -> None:
        refusal = self._refused.get(version_id)
        if version_id not in self._loading and (refusal is None or time.monotonic() > refusal.retry_at):
            self._loading[version_id] = self._loader.submit(self._load, version_id)

    def _load(self, version_id: UUID) -> None:
        loaded, refusal = None, None
        try:
            version = ModelVersion.objects.get(pk=version_id)
            self._names[version_id] = str(version)
            loaded = Loaded(version, self._verified(version))
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The database did not answer (%s); the worker tries again soon.", type(error).__name__)
        # An artifact may fail in the storage, in its hash, in the runtime or in memory: the old version stays in use.
        except Exception as error:
            logger.error("%s cannot be loaded: %s", self._names.get(version_id, version_id), error)
            refusal = _Refusal.of(error, self._refused.get(version_id))
        finally:
            connections.close_all()
        with self._lock:
            self._refused.pop(version_id, None)
            if loaded is not None:
                self._loaded[version_id] = loaded
            elif refusal is not None:
                self._refused[version_id] = refusal
            del self._loading[version_id]
        self._on_change()

    def _verified(self, version: ModelVersion) -> engine.Predictor:
        predictor = load_version(version, device=self._device)
        predictor.warm_up()
        return predictor

    def state(self) -> dict[str, Any]:
        """The fields of the worker's row that describe its versions."""
        with self._lock:
            current, modes = dict(self._current), dict(self._modes)
            wanted = set(self._wanted.values()) | modes.keys()
            refused = {each: refusal.reason for each, refusal in self._refused.items() if each in wanted}
            used = {loaded.version.pk for loaded in current.values()}
            states = dict.fromkeys(self._loaded, "kept for a rollback")
            states |= {each: modes[each] for each in self._trials}
            states |= dict.fromkeys(self._loading, "loading") | dict.fromkeys(refused, "refused")
            states |= dict.fromkeys(used, "serving")
            names = {each: self._names.get(each, str(each)) for each in states}
        first = current.get(None) or next(iter(current.values()), None)
        error = "; ".join(f"{names[each]}: {reason}" for each, reason in refused.items())
        if not self._wanted:
            error = "No model version is in service: an operator must activate one."
        return {
            "model_version": first.version if first else None,
            "device": first.predictor.runs_on if first else "",
            "error": error,
            "versions": [
                {"version": names[each], "state": state, "wanted": each in wanted, "reason": refused.get(each, "")}
                for each, state in sorted(states.items(), key=lambda entry: names[entry[0]])
            ],
        }
