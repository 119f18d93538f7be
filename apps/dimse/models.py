"""Commitments: what a peer asked us to take over the responsibility for (PS3.4 annex J), and our answer."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.core.work_queue import JobState, Work
from apps.routing.peer_fields import AE_TITLE_LENGTH
from apps.tenants.models import TenantModel


class Commitment(TenantModel, Work):
    """A request for storage commitment, and the job that reports its result to the peer.

    The row refers to no study, so it outlives the removal of the images. The result is decided once, and is the same in
    every attempt to report it.
    """

    ae_title = models.CharField("AE title", max_length=AE_TITLE_LENGTH)
    transaction_uid = models.CharField(max_length=64)
    # [[SOP Class UID, SOP Instance UID], …]
    references = models.JSONField(default=list)
    # [[SOP Class UID, SOP Instance UID, Failure Reason], …]; null: not decided yet.
    failures = models.JSONField(null=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "ae_title", "transaction_uid"], name="dimse_one_commitment"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["-priority", "id"], condition=Q(state=JobState.QUEUED), name="dimse_commitment_waiting"
            ),
            models.Index(fields=["lease_until"], condition=Q(state=JobState.RUNNING), name="dimse_commitment_leased"),
        ]

    def __str__(self) -> str:
        return f"Commitment {self.pk} {self.state}"
