"""Signals of evaluation; receivers run in the transaction of the sender."""

from django.dispatch import Signal

evaluation_ended = Signal()
"""Sent with ``version``, ``evaluation_set`` (or None) and ``evaluation``, None where the job ended without figures.

Received by `apps.deployment.receivers`.
"""
