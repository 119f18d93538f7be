from django.apps import AppConfig


class TrialsConfig(AppConfig):
    """Previews, comparisons and what-if figures: they need two versions, or the readers' verdicts."""

    name = "apps.trials"
    label = "trials"
