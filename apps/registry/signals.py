"""Signals of the registry; receivers run in the transaction of the sender."""

from django.dispatch import Signal

version_registered = Signal()
"""Sent with ``version``, a `ModelVersion` that was just registered. Received by `apps.deployment.receivers`."""
