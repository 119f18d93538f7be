"""The presentation contexts of the listener (PS3.8 annex D): plain tables, which the conformance statement prints."""

from typing import Final

from pydicom import uid
from pynetdicom.presentation import PresentationContext, build_context

from apps.results.clients.commitment_scu import STORAGE_COMMITMENT

STORAGE_CLASSES: Final = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
# Documents of a study, which are stored and never read by the model (``ml.dicom.storage_classes``).
DOCUMENT_CLASSES: Final = (
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.ExtensibleSRStorage,
    uid.ProcedureLogStorage,
    uid.MammographyCADSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.ChestCADSRStorage,
    uid.XRayRadiationDoseSRStorage,
    uid.AcquisitionContextSRStorage,
    uid.PatientRadiationDoseSRStorage,
    uid.EnhancedXRayRadiationDoseSRStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.ColorSoftcopyPresentationStateStorage,
    uid.PseudoColorSoftcopyPresentationStateStorage,
    uid.BlendingSoftcopyPresentationStateStorage,
    uid.SegmentationStorage,
    uid.EncapsulatedPDFStorage,
    uid.EncapsulatedCDAStorage,
)
NATIVE_TRANSFER_SYNTAXES: Final = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
TRANSFER_SYNTAXES: Final = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
VERIFICATION: Final = uid.UID("1.2.840.10008.1.1")
# Query/Retrieve (PS3.4 C.6): the models whose levels begin with the patient, and with the study.
PATIENT_ROOT_FIND: Final = uid.UID("1.2.840.10008.5.1.4.1.2.1.1")
PATIENT_ROOT_MOVE: Final = uid.UID("1.2.840.10008.5.1.4.1.2.1.2")
PATIENT_ROOT_GET: Final = uid.UID("1.2.840.10008.5.1.4.1.2.1.3")
STUDY_ROOT_FIND: Final = uid.UID("1.2.840.10008.5.1.4.1.2.2.1")
STUDY_ROOT_MOVE: Final = uid.UID("1.2.840.10008.5.1.4.1.2.2.2")
STUDY_ROOT_GET: Final = uid.UID("1.2.840.10008.5.1.4.1.2.2.3")
PATIENT_ROOT: Final = (PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET)
STUDY_ROOT: Final = (STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET)
QUERY_RETRIEVE_CLASSES: Final = (*PATIENT_ROOT, *STUDY_ROOT)
# Commands without pixels.
PLAIN_TRANSFER_SYNTAXES: Final = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)


def supported_contexts() -> list[PresentationContext]:
    """All contexts. A peer may be the SCP of a storage class, for C-GET, and of storage commitment, for its reports."""
    plain: list[str | uid.UID] = list(PLAIN_TRANSFER_SYNTAXES)
    contexts = [
        build_context(VERIFICATION, plain),
        *(build_context(each, list(TRANSFER_SYNTAXES)) for each in STORAGE_CLASSES),
        *(build_context(each, list(NATIVE_TRANSFER_SYNTAXES)) for each in DOCUMENT_CLASSES),
        *(build_context(each, plain) for each in QUERY_RETRIEVE_CLASSES),
        build_context(STORAGE_COMMITMENT, plain),
    ]
    for context in contexts:
        if context.abstract_syntax in (*STORAGE_CLASSES, *DOCUMENT_CLASSES, STORAGE_COMMITMENT):
            context.scu_role = context.scp_role = True
    return contexts
