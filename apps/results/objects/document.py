"""The signed report as an Encapsulated PDF (PS3.3 A.45.1)."""

from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from apps.results.objects.codes import IMAGING_REPORT
from apps.results.objects.content import ObjectIdentity, ResultContent
from apps.results.objects.identity import add_common, hierarchical_reference, item, references

SERIES_NUMBER: Final = 9003
DESCRIPTION: Final = "Signed report, PDF"
TITLE: Final = "Radiology report"


def build_encapsulated_pdf(content: ResultContent, identity: ObjectIdentity, pdf: bytes) -> Dataset:
    """Wrap the PDF of a signed report; its bytes stay as they were signed."""
    assert content.signature is not None
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = EncapsulatedPDFStorage
    dataset.Modality = "DOC"
    dataset.SeriesNumber = SERIES_NUMBER
    add_common(dataset, content, identity, DESCRIPTION)
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "YES"
    dataset.VerificationFlag = "VERIFIED"
    dataset.DocumentTitle = TITLE
    dataset.ConceptNameCodeSequence = [item(IMAGING_REPORT)]
    if content.source is not None:
        dataset.SourceInstanceSequence = references(content.source)
    if identity.predecessor is not None:
        dataset.PredecessorDocumentsSequence = [
            hierarchical_reference(
                content.study_instance_uid, identity.predecessor.series_instance_uid, identity.predecessor
            )
        ]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return dataset
