"""The audit trail: append-only rows with an actor, an action and an object."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from apps.core.identifiers import uuid7
from apps.tenants.models import TenantModel


class AuditEvent(TenantModel):
    """One action on a tenant's data. It refers to rows by their primary keys and contains no patient data."""

    class Action(models.TextChoices):
        INSTANCE_STORED = "instance.stored", "Instance stored"
        STUDIES_SEARCHED = "studies.searched", "Studies listed or searched"
        STUDY_VIEWED = "study.viewed", "Study viewed"
        INSTANCES_RETRIEVED = "instances.retrieved", "Instances or images of a study retrieved"
        REPORT_READ = "report.read", "Report read"
        FINDING_REVIEWED = "finding.reviewed", "Finding reviewed"
        VERDICT_WITHDRAWN = "finding.verdict-withdrawn", "Verdict on a finding withdrawn"
        READER_FINDING_ADDED = "finding.added", "Finding added by a reader"
        READER_FINDING_REMOVED = "finding.removed", "Finding of a reader removed"
        IMPRESSION_COMMITTED = "impression.committed", "Impression committed before the AI was shown"
        FINDINGS_REVEALED = "findings.revealed", "AI shown after the impression was committed"
        REPORT_SIGNED = "report.signed", "Report signed"
        REPORT_AMENDED = "report.amended", "Report amended"
        REPORT_ADDENDED = "report.addendum", "Addendum to a report signed"
        REPORT_DRAFT_WITHDRAWN = "report.draft-withdrawn", "Draft of a report's next version withdrawn"
        IMAGE_REJECTED = "image.rejected", "Image rejected"
        IMAGE_REJECTION_WITHDRAWN = "image.rejection-withdrawn", "Rejection of an image taken back"
        IMAGES_PREDICTED = "images.predicted", "Images read and not stored"
        POINTS_CHANGED = "operating-points.changed", "Operating points changed"
        RECALIBRATED = "probabilities.recalibrated", "Probabilities recalibrated"
        DRIFT_ACCEPTED = "drift.accepted", "Weeks accepted as the reference of drift"
        MODEL_ACTIVATED = "model.activated", "Model version put into service"
        MODEL_ROLLED_BACK = "model.rolled_back", "Model version rolled back"
        MODEL_UNPINNED = "model.unpinned", "Back to the platform's model version"
        MODEL_CANARY = "model.canary", "Canary started or changed"
        MODEL_SHADOW = "model.shadow", "Shadow started"
        MODEL_CHALLENGE_ENDED = "model.challenge_ended", "Canary or shadow ended"
        AI_STOPPED = "ai.stopped", "AI stopped"
        AI_STARTED = "ai.started", "AI started again"
        STUDIES_REQUEUED = "studies.requeued", "Studies queued to be read once more"
        DATA_EXPORTED = "data.exported", "Data exported"
        REQUEST_REFUSED = "request.refused", "Request refused"
        CONFLICT_OPENED = "demographics.conflict", "Demographics conflict found"
        CONFLICT_SETTLED = "demographics.settled", "Demographics conflict settled"
        CONFLICT_REOPENED = "demographics.reopened", "Demographics conflict reopened"
        STUDY_MOVED = "study.moved", "Study moved to another patient"
        STUDY_WITHDRAWN = "study.withdrawn", "Study withdrawn"
        STUDY_RESTORED = "study.restored", "Withdrawn study restored"
        PLACEHOLDERS_CHANGED = "placeholders.changed", "Placeholder patient IDs changed"
        USER_SIGNED_IN = "user.signed-in", "User signed in"
        PEER_ADDED = "peer.added", "DICOM peer added"
        PEER_CHANGED = "peer.changed", "DICOM peer changed"
        PEER_REMOVED = "peer.removed", "DICOM peer removed"
        PEER_REFUSED = "peer.refused", "DICOM association refused"
        RULES_CHANGED = "rules.changed", "Rules about arriving objects, or the quiet time, changed"
        RULES_RELEASED = "rules.released", "Images that a rule had stored only read all the same"
        OBJECT_REFUSED = "object.refused", "Objects refused by a rule"
        MEMBER_INVITED = "member.invited", "Person invited"
        INVITATION_WITHDRAWN = "invitation.withdrawn", "Invitation withdrawn"
        MEMBER_JOINED = "member.joined", "Person joined"
        MEMBER_ROLE_CHANGED = "member.role-changed", "Role of a member changed"
        MEMBER_REMOVED = "member.removed", "Member removed"
        PASSWORD_LINK_MADE = "member.password-link", "Link for a new password made"
        PASSWORD_SET = "member.password-set", "Password set by link"
        ACCOUNT_DISABLED = "account.disabled", "Account of a member disabled"
        ACCOUNT_ENABLED = "account.enabled", "Account of a member enabled again"
        KEY_CREATED = "api-key.created", "API key created"
        KEY_REVOKED = "api-key.revoked", "API key revoked"
        KEY_REFUSED = "api-key.refused", "API key refused"
        ORIGINS_CHANGED = "web-origins.changed", "Web origins that may call DICOMweb changed"
        RESULT_POLICY_CHANGED = "result-policy.changed", "Which result objects are created changed"
        RESULTS_REQUESTED = "results.requested", "Result objects of a study requested again"
        RESULT_READ = "result.read", "Result object read"
        DESTINATION_ADDED = "destination.added", "Destination of results or events added"
        DESTINATION_CHANGED = "destination.changed", "Destination changed, or switched on or off"
        DESTINATION_REMOVED = "destination.removed", "Destination removed"
        DESTINATION_TESTED = "destination.tested", "Test sent to a destination"
        DELIVERIES_REPEATED = "deliveries.repeated", "Deliveries sent again"
        STUDY_ASSIGNED = "study.assigned", "Study assigned, or assignment ended"
        STUDY_PRIORITY_SET = "study.priority-set", "Priority of a study set by a person"
        READING_POLICY_CHANGED = "reading-policy.changed", "How studies are read changed"
        TEXT_CHANGED = "text.changed", "Text for reports saved or removed"
        CRITICAL_RULE_CHANGED = "critical-rule.changed", "Rule of critical findings changed"
        CRITICAL_ACKNOWLEDGED = "critical.acknowledged", "Critical finding acknowledged"
        DISCORDANCE_REVIEWED = "discordance.reviewed", "Difference of report and AI reviewed"
        DISCORDANCE_REOPENED = "discordance.reopened", "Review of a difference of report and AI undone"
        CONSOLE_VIEWED = "operator.viewed", "Shown to an operator of the platform"

    class Outcome(models.IntegerChoices):
        """EventOutcomeIndicator (PS3.15 A.5.2)."""

        SUCCESS = 0, "Success"
        MINOR_FAILURE = 4, "Refused"

    at = models.DateTimeField(db_default=Now(), editable=False, help_text="Stamped by the database.")
    database_role = models.CharField(max_length=63, db_default="", editable=False, help_text="Stamped by the database.")
    # Without ``choices``: a new action would otherwise need a migration that changes nothing in the database.
    action = models.CharField(max_length=40, help_text="One of `Action`.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=100, help_text="User, API client or peer, by its name.")
    address = models.GenericIPAddressField(null=True, help_text="Where the request came from, where there was one.")
    object_id = models.UUIDField(null=True)
    operation = models.CharField(
        max_length=100, db_default="", help_text="What was asked for: the name of a view, never its address."
    )
    outcome = models.PositiveSmallIntegerField(choices=Outcome, default=Outcome.SUCCESS, db_default=Outcome.SUCCESS)
    amount = models.PositiveIntegerField(default=1, db_default=1, help_text="How many objects the act was about.")

    class Meta(TenantModel.Meta):
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-at"], name="audit_event_latest"),
            models.Index(fields=["tenant", "object_id", "-at"], name="audit_event_of_object"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.action}"


class SecurityEvent(models.Model):
    """A refused sign-in or API key for which no tenant is known. It contains no password and no typed text.

    A refused sign-in writes the same row whether the account exists or not, so that the time of the answer does not
    reveal it. Refused sign-ins of a tenant's members are found by ``user``.
    """

    class Action(models.TextChoices):
        SIGN_IN_FAILED = "sign-in.failed", "Sign-in with a wrong password or account"
        SIGN_IN_THROTTLED = "sign-in.throttled", "Sign-in refused after too many failures"
        KEY_REFUSED = "api-key.refused", "API key of no known tenant refused"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(db_default=Now(), editable=False, help_text="Stamped by the database.")
    database_role = models.CharField(max_length=63, db_default="", editable=False, help_text="Stamped by the database.")
    action = models.CharField(max_length=40, choices=Action)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    address = models.GenericIPAddressField(null=True)
    amount = models.PositiveIntegerField(default=1, help_text="How many attempts this line stands for.")

    class Meta:
        indexes: ClassVar = [models.Index(fields=["user", "-at"], name="audit_security_of_user")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.action}"
