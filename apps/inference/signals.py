"""Signals of inference; receivers run in the transaction of the sender.

Received by `apps.critical.receivers` and `apps.quality.receivers`.
"""

from django.dispatch import Signal

images_rejected = Signal()
"""Sent with ``study_id``, ``images`` (SOP Instance UIDs) and ``user_id``, None where a document rejected them."""

rejection_withdrawn = Signal()
"""Sent with ``study_id`` when an image may be read again."""

study_withdrawn = Signal()
"""Sent with ``study_id`` and ``user_id``."""

study_restored = Signal()
"""Sent with ``study_id`` and ``user_id``."""

swept = Signal()
"""Sent at each sweep of the dispatcher, without a transaction, for what a higher package has to do at certain times."""
