"""Forms that several pages of the portal use."""

import datetime
from collections.abc import Callable
from typing import Any

from django import forms
from django.core.validators import ProhibitNullCharactersValidator, RegexValidator
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

# PS3.5 6.2: a backslash separates values, and control characters end a text.
DICOM_TEXT = RegexValidator(r"^[^\\\x00-\x1f\x7f]*$", _("Leave out backslashes and control characters."))


def _text(label: Any) -> forms.CharField:
    validators: list[Callable[[Any], None]] = [DICOM_TEXT, ProhibitNullCharactersValidator()]
    return forms.CharField(label=label, max_length=64, required=False, validators=validators)


class PictureForm(forms.Form):
    """The patient details of PNG and JPEG pictures, which have no DICOM attributes.

    Whether they are needed shows only when the files are opened (`apps.portal.upload_files`).
    """

    is_frontal = forms.BooleanField(required=False)
    patient_unknown = forms.BooleanField(required=False)
    patient_id = _text(_("Patient ID"))
    patient_name = _text(_("Patient name"))
    study_date = forms.DateField(label=_("Date of the film"), required=False)

    def clean_study_date(self) -> datetime.date | None:
        date: datetime.date | None = self.cleaned_data["study_date"]
        # The sender's day may be one ahead of the server's.
        if date is not None and date > timezone.localdate() + datetime.timedelta(days=1):
            raise forms.ValidationError(_("The date of the film is in the future."))
        return date

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("patient_unknown") and (cleaned.get("patient_id") or cleaned.get("patient_name")):
            raise forms.ValidationError(_("Enter the patient, or say that the patient is unknown: not both."))
        return cleaned
