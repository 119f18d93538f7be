"""Whether the AI is stopped for a tenant, and what its results say then."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from apps.deployment.models import AiStop

AI_STOPPED = "ai-stopped"
"""The code of readings that were not made, and of the warning about labels that were left out."""


@dataclass(frozen=True)
class Stops:
    """The stops in force for a tenant: of the whole AI, and of single labels."""

    whole: AiStop | None
    labels: dict[str, AiStop]

    def __bool__(self) -> bool:
        return self.whole is not None or bool(self.labels)

    def stop_all(self, labels: Collection[str]) -> bool:
        """Whether nothing is left of these labels."""
        return self.whole is not None or (bool(self.labels) and self.labels.keys() >= set(labels))

    def leave_out(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """The probabilities of the labels that are not stopped."""
        return {label: value for label, value in probabilities.items() if label not in self.labels}

    @property
    def detail(self) -> str:
        """The stop, for the readers of a result. It leaves out the reason, which may name a person."""
        if self.whole is not None:
            return f"AI stopped since {_since(self.whole)}. The model did not read this study."
        stopped = (f"{label.replace('_', ' ')} (since {_since(stop)})" for label, stop in self.labels.items())
        return f"AI stopped for {', '.join(stopped)}: absent from this result, which says nothing about it."


NO_STOPS = Stops(None, {})


def stops_for(tenant_id: UUID) -> Stops:
    """The stops in force for a tenant."""
    rows = {row.label: row for row in AiStop.objects.filter(for_tenant=tenant_id)}
    return Stops(rows.pop("", None), rows)


def _since(stop: AiStop) -> str:
    return f"{stop.since:%Y-%m-%d %H:%M} UTC"
