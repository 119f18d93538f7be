"""Clients of DICOM peers and DICOMweb servers, which delivery, C-MOVE and the page of peers use."""
