"""Writes a received data set as a file (PS3.10 7.1); the same instance always gets the same group 0002."""

from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from apps.core.implementation import FILE_VERSION_NAME, IMPLEMENTATION_CLASS_UID
from apps.studies.spool import Spool, SpooledFile

_PREAMBLE = bytes(128) + b"DICM"
_GROUP_LENGTH_ELEMENT = 12
_CHUNK = 1024 * 1024


def spool_part10(
    received: Path, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, spool: Spool
) -> SpooledFile:
    """Copy the data set of a file that pynetdicom wrote, with our own File Meta Information.

    Raises:
        ValueError: a UID cannot be written.
        TooLargeError, OutOfSpaceError
    """
    writer = spool.open()
    try:
        writer.write(_PREAMBLE + _file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid))
        with received.open("rb") as source:
            source.seek(_data_set_offset(source.read(len(_PREAMBLE) + _GROUP_LENGTH_ELEMENT)))
            while chunk := source.read(_CHUNK):
                writer.write(chunk)
        return writer.close()
    except BaseException:
        writer.abandon()
        raise


def _file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = FILE_VERSION_NAME
    target = DicomBytesIO()
    write_file_meta_info(target, meta)
    return target.getvalue()


def _data_set_offset(head: bytes) -> int:
    """Where the data set begins: after the group whose length (0002,0000) states."""
    return len(head) + int.from_bytes(head[-4:], "little")
