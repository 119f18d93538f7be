"""A small image of no patient, which shows whether a destination stores what it is sent."""

import datetime
from typing import Final

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from apps.results.objects.content import PRODUCT, derived_uid
from apps.results.objects.identity import UTF_8, set_time

PATIENT_NAME: Final = "TEST^CHECXRAY"
PATIENT_ID: Final = "CHECXRAY-TEST"
_SIZE: Final = (320, 120)


def build_test_image(destination: str, at: datetime.datetime) -> Dataset:
    """The test image for a destination. It has the same UIDs each time, so that repeated tests leave one image there.

    Args:
        destination: the id of the destination.
        at: the time of the study.
    """
    picture = Image.new("L", _SIZE, 0)
    ImageDraw.Draw(picture).text((20, 40), "TEST IMAGE\nNo patient", font=ImageFont.load_default(24), fill=255)
    dataset: Dataset = SCImage(
        pixel_array=np.asarray(picture),
        photometric_interpretation="MONOCHROME2",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=derived_uid("test-study", destination),
        series_instance_uid=derived_uid("test-series", destination),
        series_number=1,
        sop_instance_uid=derived_uid("test-instance", destination),
        instance_number=1,
        manufacturer=PRODUCT,
        patient_id=PATIENT_ID,
        patient_name=PATIENT_NAME,
    )
    dataset.SpecificCharacterSet = UTF_8
    dataset.StudyDescription = dataset.SeriesDescription = "Test image of Checxray"
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = "YES"
    dataset.StudyID = ""
    for name in ("Study", "Series", "Content", "InstanceCreation"):
        set_time(dataset, name, at)
    return dataset
