"""Which image of a study is the one to read: the order, by attributes alone. Whether it may be read is the gate's."""

import re
from collections.abc import Iterable

from apps.studies.models import Instance

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
_PA = re.compile(r"\b(PA|POSTERO ?-?ANTERIOR)\b")
_AP = re.compile(r"\b(AP|ANTERO ?-?POSTERIOR)\b")


def reading_order(instances: Iterable[Instance]) -> list[Instance]:
    """The images among instances of one study, the one to be read first.

    An original before a CR or DX image that does not say what it is, and both before a derived one (PS3.3 C.7.6.1.1.2);
    For Presentation before For Processing (C.8.11.2); CR and DX before Secondary Capture; posteroanterior before
    anteroposterior before other views; and of equals the newest, which may be a repeat.
    """
    images = [instance for instance in instances if instance.is_image]
    newest_first = sorted(images, key=lambda each: (each.received, each.pk), reverse=True)
    return sorted(newest_first, key=_rank)


def _rank(instance: Instance) -> tuple[int, ...]:
    said = {name: str(text).strip().upper() for name, text in instance.attributes.items()}
    image_type = [value.strip() for value in said.get("ImageType", "").split("\\")]
    is_capture = instance.sop_class_uid.startswith(_SECONDARY_CAPTURE)
    is_for_processing = (
        instance.sop_class_uid == _FOR_PROCESSING or said.get("PresentationIntentType") == "FOR PROCESSING"
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
