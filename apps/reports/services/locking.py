"""The lock that every change of a report takes, so that two of them follow each other."""

from django.utils.translation import gettext as _

from apps.core.errors import NotFoundError, WithdrawnError
from apps.studies.models import Study


def lock_study(study: Study) -> Study:
    """Lock the study: code that stores its instances, ends its jobs or changes its report waits for the transaction.

    Returns:
        The study as it is now, with its patient.

    Raises:
        NotFoundError: there is no such study.
        WithdrawnError: it was withdrawn meanwhile.
    """
    locked = Study.objects.select_for_update(no_key=True, of=("self",)).filter(pk=study.pk)
    found = locked.select_related("patient", "tenant").first()
    if found is None:
        raise NotFoundError(_("There is no such study in this hospital."), "study-not-found")
    if found.withdrawn is not None:
        raise WithdrawnError(
            _("This study was withdrawn. A member of the hospital can restore it on its page."), "study-withdrawn"
        )
    return found
