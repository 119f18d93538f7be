"""What the sender of a film can do where the AI did not read it. No text here says anything about a finding."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.deployment.stops import AI_STOPPED

_SEND_AGAIN = gettext_lazy("Send the film again. If this stays, name it to your administrator.")
_NOTHING = gettext_lazy("Nothing to do: the radiologist reads it without AI.")
REMEDIES = {
    "not-radiography": gettext_lazy("Check that you sent the radiograph itself, and not another object of the study."),
    "not-chest": gettext_lazy(
        "If it is a chest film, correct the body part at the modality and send it again. Otherwise nothing to do."
    ),
    "not-frontal": gettext_lazy(
        "Nothing to do for a lateral view. If it is a frontal film, correct the view position and send it again."
    ),
    "too-small": gettext_lazy("Send the original film, not a preview or a thumbnail."),
    "aspect-ratio": gettext_lazy("Send the whole film: this one is cropped, or several are joined."),
    "derived-image": gettext_lazy("Send the original film from the modality."),
    "own-object": _NOTHING,
    "not-for-clinical-use": gettext_lazy(
        "Send the film of the patient: this one is marked as a test or research image."
    ),
    "for-processing": gettext_lazy("Send the processed film (For Presentation) from the modality as well."),
    "multi-frame": gettext_lazy("Send the films one by one."),
    "codestream-mismatch": gettext_lazy("Export the film again from its source and send that one."),
    "image-rejected": gettext_lazy(
        "Take the film again, or send the right one. A rejection by mistake can be taken back on the study's page."
    ),
    "stored-by-rule": gettext_lazy(
        "If it should be read, name it to your administrator: Hospital settings, Rules shows the rule."
    ),
    "no-image": gettext_lazy("Send the films of this study: only documents have arrived."),
    "not-chest-film": gettext_lazy(
        "Look at the film. If it is turned, inverted, cropped or spoilt, reject it and send a corrected one, "
        "or take it again. Otherwise nothing to do."
    ),
    "unlike-training": gettext_lazy(
        "Look at positioning and exposure, and take the film again if they are poor. Otherwise nothing to do."
    ),
    "object-missing": _SEND_AGAIN,
    "object-damaged": _SEND_AGAIN,
    "decode-failed": gettext_lazy("The film is damaged. Export it again from its source and send that one."),
    "codestream-invalid": gettext_lazy("The film is damaged. Export it again from its source and send that one."),
    AI_STOPPED: _NOTHING,
}


def remedy_of(code: str | None) -> str:
    """What to do about a study that was not read for this reason."""
    known = REMEDIES.get(code or "")
    return str(known) if known is not None else _("Tell your administrator if this happens again.")
