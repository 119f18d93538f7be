"""What the data dictionary (PS3.6) says of a tag."""


def is_standard_sequence(tag: int) -> bool:
    """Whether a tag of the standard has the VR SQ; False for private and unknown tags."""
    if tag >> 16 & 1:
        return False
    # Imported here: the dictionary takes a tenth of a second, and few files need it.
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False
