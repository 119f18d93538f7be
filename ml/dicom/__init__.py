"""DICOM objects, PNG and JPEG: bounded parsing, pixel decoding, the display pipeline and Secondary Capture writing."""
