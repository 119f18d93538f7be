from django.apps import AppConfig


class TrialsConfig(AppConfig):
    """What needs two versions or the readers' verdicts: previews, comparisons, what-if figures."""

    name = "apps.trials"
    label = "trials"
