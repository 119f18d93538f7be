"""What a tenant's administrator sets about arriving objects, and what followed from it."""

from dataclasses import dataclass
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from apps.routing.rules import LONGEST_NAME, Action, Rule
from apps.studies.models import Instance
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel


@dataclass(frozen=True)
class QuietTime:
    """How many seconds a study waits for more images: after each one, and at most after the first one."""

    after_image: int
    longest: int


def no_rules() -> list[dict[str, object]]:
    return []


class IntakePolicy(TenantModel):
    """One version of a tenant's rules about arriving objects, and how long a study waits for more images.

    The version with the highest number is in force. Each change writes a new one, and none is ever changed: they are
    the history. A tenant without a version has no rules of its own and waits for nothing.
    """

    number = models.PositiveIntegerField()
    rules = models.JSONField(default=no_rules, help_text="In their order, as `apps.routing.rules.Rule.to_dict`.")
    quiet_seconds = models.PositiveIntegerField(
        _("Quiet time in seconds"),
        default=0,
        help_text=_("A study is read when no image of it has arrived for this time. 0: it is read at once."),
    )
    longest_wait_minutes = models.PositiveIntegerField(
        _("Longest wait in minutes"),
        default=15,
        help_text=_("So long after its first image the study is read, even while more images arrive."),
    )
    created = models.DateTimeField(auto_now_add=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    restored_from = models.PositiveIntegerField(null=True, help_text="The number of the version that this one repeats.")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "number"], name="routing_one_policy_of_number"),
        ]
        ordering: ClassVar = ["-number"]

    def __str__(self) -> str:
        return f"Intake policy {self.number}"

    @cached_property
    def own_rules(self) -> tuple[Rule, ...]:
        return tuple(Rule.from_dict(stored) for stored in self.rules)

    @property
    def quiet_time(self) -> QuietTime:
        return QuietTime(self.quiet_seconds, self.longest_wait_minutes * 60)


class RuleMatch(TenantModel):
    """The rule of the tenant that decided about a stored instance, as it was then."""

    instance = TenantForeignKey(Instance, on_delete=models.CASCADE, related_name="+")
    rule_id = models.UUIDField()
    rule_name = models.CharField(max_length=LONGEST_NAME)
    policy = models.PositiveIntegerField(help_text="The number of the version of the rules.")
    action = models.CharField(max_length=10, choices=Action)
    destinations = ArrayField(models.UUIDField(), default=list, help_text="Where the study's results go.")
    released = models.DateTimeField(null=True, help_text="When a person had the image read all the same.")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "instance"], name="routing_one_match_of_instance"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["tenant", "rule_id"],
                condition=Q(action=Action.STORE, released=None),
                name="routing_match_kept_back",
            )
        ]

    def __str__(self) -> str:
        return f"{self.instance_id}: {self.action}"


class RuleRefusals(TenantModel):
    """How many objects one rule has refused. Nothing of the objects is kept."""

    rule_id = models.UUIDField()
    rule_name = models.CharField(max_length=LONGEST_NAME)
    amount = models.PositiveBigIntegerField(default=0)
    first = models.DateTimeField()
    last = models.DateTimeField()

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "rule_id"], name="routing_refusals_once_per_rule"),
        ]

    def __str__(self) -> str:
        return f"{self.rule_name}: {self.amount}"
