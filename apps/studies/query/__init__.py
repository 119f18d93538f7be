"""Search in studies, series and instances by DICOM attributes, as QIDO-RS (PS3.18 10.6) and C-FIND (PS3.4 C.2) do."""
