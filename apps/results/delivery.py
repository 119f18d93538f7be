"""Queues new result objects for the destinations of their tenant."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from uuid import UUID

from apps.core.wake_up import WakeUp, wake_after_commit
from apps.events.models import Delivery
from apps.results.models import ResultObject
from apps.routing.models import Destination
from apps.routing.rule_models import RuleMatch


def queue_objects(sop_instance_uids: Collection[str]) -> None:
    """Queue objects of the tenant in force, in the transaction that creates them.

    They go to the destinations that a rule names for an image of the study, or else to all. A destination that is
    switched off gets them when it is switched on again. None gets an object twice.
    """
    targets = list(Destination.objects.exclude(kind=Destination.Kind.WEBHOOK)) if sop_instance_uids else []
    if not targets:
        return
    objects = list(ResultObject.objects.filter(sop_instance_uid__in=sop_instance_uids).order_by("id"))
    named = _named_by_rules({each.study_id for each in objects}, {target.pk for target in targets})
    deliveries = [
        Delivery(destination=target, object_id=each.pk, study_id=each.study_id, content=each.kind)
        for each in objects
        for target in targets
        if each.kind in target.contents and target.pk in (named.get(each.study_id) or {target.pk})
    ]
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)
    if deliveries:
        wake_after_commit(WakeUp.SEND)


def _named_by_rules(study_ids: Iterable[UUID], there: set[UUID]) -> dict[UUID, set[UUID]]:
    """The destinations that rules name for each study; without those that were removed since."""
    named: dict[UUID, set[UUID]] = defaultdict(set)
    matches = RuleMatch.objects.filter(instance__series__study__in=study_ids).exclude(destinations=[])
    for match in matches.select_related("instance__series"):
        named[match.instance.series.study_id] |= there.intersection(match.destinations)
    return named
