"""The images of the demo: a fixed list of synthetic patients of two tenants, with findings and follow-up studies."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import uid
from pydicom.dataset import FileDataset

from ml.phantom.dicom import birth_date_of, write_dicom
from ml.phantom.image import SyntheticImage, generate

FIRST_DAY = "20250101"
TENANTS = ("north", "south")
_NAMES = (
    "Alpha", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India",
    "Juliett", "Kilo", "Lima", "Mike", "November", "Oscar", "Papa", "Quebec", "Romeo",
    "Sierra", "Tango", "Uniform", "Victor", "Whiskey", "Xray", "Yankee", "Zulu",
)  # fmt: skip
_CASES: tuple[tuple[str, ...], ...] = (
    ("Effusion",),
    (),
    ("Cardiomegaly",),
    ("Pneumothorax",),
    ("Nodule",),
    (),
    ("Mass",),
    ("Cardiomegaly", "Effusion"),
    (),
    ("Mass", "Nodule"),
    ("Effusion", "Pneumothorax"),
    (),
)
_SYNTAXES = (uid.JPEG2000Lossless, uid.JPEGLosslessSV1, uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless)


@dataclass(frozen=True)
class DemoImage:
    """One study of the demo: its tenant, patient and date, and the findings that the generator draws."""

    tenant: str
    seed: int
    findings: tuple[str, ...]
    patient_name: str
    patient_id: str
    accession_number: str
    study_date: str
    study_time: str
    institution: str
    view_position: str
    photometric: str
    transfer_syntax: str

    def image(self, size: int = 1024) -> SyntheticImage:
        return generate(self.seed, size, self.findings)

    def write(self, target: str | Path | BytesIO, size: int = 1024) -> FileDataset:
        """Generate the image and write it as DICOM; the same item always gives the same instance."""
        image = self.image(size)
        return write_dicom(
            image,
            target,
            birth_date=birth_date_of(image, FIRST_DAY),
            patient_name=self.patient_name,
            patient_id=self.patient_id,
            accession_number=self.accession_number,
            study_date=self.study_date,
            study_time=self.study_time,
            institution=self.institution,
            view_position=self.view_position,
            photometric=self.photometric,
            transfer_syntax=self.transfer_syntax,
        )


def demo_set(n: int = 12) -> list[DemoImage]:
    """The first `n` demo studies, alternating between the two tenants.

    From the fifth study on, two of every six are follow-ups, with the same patient as two studies before.
    """
    if n < 0:
        raise ValueError("n must not be negative")
    return [_item(i) for i in range(n)]


def _item(i: int) -> DemoImage:
    tenant = TENANTS[i % 2]
    follow_up = i >= 4 and i % 6 in (4, 5)
    person = i - 2 if follow_up else i
    name = _NAMES[person % len(_NAMES)] + ("" if person < len(_NAMES) else f" {person // len(_NAMES) + 1}")
    day = 1 + (i * 5) % 27
    return DemoImage(
        tenant=tenant,
        seed=100 + person,
        findings=_CASES[i % len(_CASES)],
        patient_name=f"SYNTHETIC^{name}",
        patient_id=f"SYN-{1001 + person}",
        accession_number=f"DEMO{tenant[0].upper()}{i + 1:04d}",
        study_date=f"2025{3 + i % 6:02d}{day:02d}",
        study_time=f"{8 + i % 9:02d}{(i * 7) % 60:02d}00",
        institution=f"Synthetic Hospital {tenant.title()}",
        view_position="AP" if i % 7 == 3 else "PA",
        photometric="MONOCHROME1" if i % 5 == 2 else "MONOCHROME2",
        transfer_syntax=_SYNTAXES[i % len(_SYNTAXES)],
    )
