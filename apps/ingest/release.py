"""Has images read that a rule had stored only."""

from typing import Final, cast
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from apps.audit.models import AuditEvent
from apps.audit.services import record
from apps.inference.requests import request_reading_if_due
from apps.routing.rule_models import RuleMatch
from apps.routing.rule_selectors import kept_back
from apps.routing.rule_services import Editor
from apps.studies.models import Study
from apps.tenants.models import Role
from apps.tenants.services import require_role

MOST_AT_ONCE: Final = 500


def read_kept_back(rule_id: UUID, *, editor: Editor) -> int:
    """Have the oldest images of the tenant in force read that a rule stored only; return how many there were.

    Raises:
        NotPermittedError: no administrator.
    """
    require_role(editor.membership, Role.ADMIN)
    with transaction.atomic():
        matches = list(kept_back(rule_id).order_by("id").values_list("pk", "instance__series__study")[:MOST_AT_ONCE])
        # The rows of studies are locked in the order of every other service.
        studies = sorted({study_id for _, study_id in matches})
        list(Study.objects.select_for_update(no_key=True).filter(pk__in=studies).order_by("pk").values_list("pk"))
        RuleMatch.objects.filter(pk__in=[pk for pk, _ in matches]).update(released=Now())
        for study_id in studies:
            request_reading_if_due(study_id=cast(UUID, study_id))
        if matches:
            record(action=AuditEvent.Action.RULES_RELEASED, by=editor.by, object_id=rule_id, amount=len(matches))
    return len(matches)
