"""Signals of reports; receivers run in the transaction of the sender. Received by `apps.quality.receivers`."""

from django.dispatch import Signal

report_signed = Signal()
"""Sent with ``study_id`` when a report, an amendment or an addendum was signed; the study is locked."""

results_drafted = Signal()
"""Sent with ``study_ids`` when results of the AI gave their studies a preliminary report."""
