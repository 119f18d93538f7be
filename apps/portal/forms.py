"""Forms that several pages of the portal use."""

from django import forms
from django.core.validators import ProhibitNullCharactersValidator, RegexValidator

# PS3.5 6.2: a backslash separates values, and control characters end a text.
DICOM_TEXT = RegexValidator(r"^[^\\\x00-\x1f\x7f]*$", "Leave out backslashes and control characters.")


class PictureForm(forms.Form):
    """The patient details of a PNG or JPEG, which has no DICOM attributes."""

    is_frontal = forms.BooleanField(required=False)
    patient_id = forms.CharField(
        max_length=64, required=False, validators=[DICOM_TEXT, ProhibitNullCharactersValidator()]
    )
    patient_name = forms.CharField(
        max_length=64, required=False, validators=[DICOM_TEXT, ProhibitNullCharactersValidator()]
    )
    study_date = forms.DateField(required=False)
