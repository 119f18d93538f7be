"""The order in which the images of a study are tried, by attributes alone; the input check decides about each."""

import re
from collections.abc import Iterable

from apps.studies.models import Instance

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
_PA = re.compile(r"\b(PA|POSTERO ?-?ANTERIOR)\b")
_AP = re.compile(r"\b(AP|ANTERO ?-?POSTERIOR)\b")


def reading_order(instances: Iterable[Instance]) -> list[Instance]:
    """The images among the instances of one study, in the order in which they are tried.

    An original image precedes a CR or DX image without Image Type, and both precede a derived one (PS3.3
    C.7.6.1.1.2). Then: For Presentation before For Processing (C.8.11.2); CR and DX before Secondary Capture;
    posteroanterior before anteroposterior before other views. Of equals the newest is first: it may be a repeat.
    """
    images = [instance for instance in instances if instance.is_image]
    newest_first = sorted(images, key=lambda each: (each.received, each.pk), reverse=True)
    return sorted(newest_first, key=_rank)


def _rank(instance: Instance) -> tuple[int, ...]:
    attributes = {name: str(text).strip().upper() for name, text in instance.attributes.items()}
    image_type = [value.strip() for value in attributes.get("ImageType", "").split("\\")]
    is_capture = instance.sop_class_uid.startswith(_SECONDARY_CAPTURE)
    is_for_processing = (
        instance.sop_class_uid == _FOR_PROCESSING or attributes.get("PresentationIntentType") == "FOR PROCESSING"
    )
    return (
        {"ORIGINAL": 0, "DERIVED": 2}.get(image_type[0], 2 if is_capture else 1),
        int("SECONDARY" in image_type[1:2]),
        int(is_for_processing),
        int(is_capture),
        _view(instance.view_position.upper()),
    )


def _view(view_position: str) -> int:
    view = view_position.replace("_", " ")
    return 0 if _PA.search(view) else 1 if _AP.search(view) else 2
