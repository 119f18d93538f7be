"""The listener's presentation contexts, and its implementation identification (PS3.8 annex D, PS3.7 D.3.3.2)."""

from typing import Final

from pydicom import uid
from pynetdicom.presentation import PresentationContext, build_context

from apps.core.version import VERSION

# The UID of this implementation (PS3.5 B.2), and its name. Both are written into every received file, so they never
# change: the same data set must give the same file in every release.
IMPLEMENTATION_CLASS_UID: Final = "2.25.214743061296205313021203430868116834209"
FILE_VERSION_NAME: Final = "CHECXRAY"
# The version name that peers see (PS3.7 D.3.3.2.3): at most 16 characters.
IMPLEMENTATION_VERSION_NAME: Final = f"CHECXRAY_{VERSION}"

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
_VERIFICATION: Final = uid.UID("1.2.840.10008.1.1")
_VERIFICATION_SYNTAXES: Final = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)


def supported_contexts() -> list[PresentationContext]:
    return [
        build_context(_VERIFICATION, list(_VERIFICATION_SYNTAXES)),
        *(build_context(each, list(TRANSFER_SYNTAXES)) for each in STORAGE_CLASSES),
        *(build_context(each, list(NATIVE_TRANSFER_SYNTAXES)) for each in DOCUMENT_CLASSES),
    ]
