"""A tenant's reviewed studies, de-identified, as a folder that `evaluate_model` and `train_model` read.

The layout is that of NIH ChestX-ray14: `images/`, `Data_Entry_2017.csv`, `train_val_list.txt`, `test_list.txt`. Names
of images, keys of patients and the order of everything are random in each export, so two exports cannot be joined.
"""

import datetime
import io
import random
import secrets
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, Subquery
from django.utils.translation import gettext as _
from PIL import Image

from apps.core.csv_text import as_csv
from apps.core.errors import ConflictError, InvalidInputError, ObjectLostError
from apps.core.work_queue import JobState
from apps.inference.models import Finding
from apps.inference.rendering import image_png
from apps.registry import engine
from apps.reports.models import Report
from apps.reports.selectors import presence_of
from apps.studies.models import ImageRejection, Instance, Study
from apps.studies.selectors import in_conflict

SIDE = 1024
MOST_IN_ONE_FILE = 300
TEST_SHARE = 0.2
# HIPAA 45 CFR 164.514(b)(2)(i)(C): all ages over 89 are one category.
OLDEST = 90
_HEADER = (
    "Image Index",
    "Finding Labels",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
    "Unknown Labels",
)
_NO_FINDING = "No Finding"
_README = """Chest radiographs with the verdicts of the radiologists who signed their reports, de-identified.

images/                8-bit PNG, at most {side} pixels a side, as the viewer shows them; no metadata
Data_Entry_2017.csv    the layout of NIH ChestX-ray14; "Unknown Labels" are findings without a verdict
train_val_list.txt, test_list.txt    by patient, {share:.0%} of the patients for tests

Names, patient keys and the order are random and differ in every export. There is no date; ages over 89 are {oldest}.
Images that say that they have burnt-in text are left out; look at the others before you pass them on.

manage.py evaluate_model --data FOLDER        manage.py train_model --data FOLDER
"""


@dataclass(frozen=True)
class ReviewedFilm:
    """One film with a verdict on at least one finding, and nothing that identifies its patient but the key inside."""

    instance: Instance
    patient: UUID
    age: int | None
    sex: str
    view: str
    present: frozenset[str]
    unknown: frozenset[str]

    @property
    def labels(self) -> str:
        return "|".join(sorted(self.present)) or _NO_FINDING


def reviewed_films(last: int | None = None) -> list[ReviewedFilm]:
    """The films of the tenant in force whose signed report has a verdict on a finding, the latest first.

    Left out: withdrawn studies, rejected and held images, patients whose demographics are in conflict, and images that
    say that text is burnt in.
    """
    latest = Report.objects.filter(study=OuterRef("study")).order_by("-number").values("pk")[:1]
    rejected = ImageRejection.objects.filter(
        study=OuterRef("study"), sop_instance_uid=OuterRef("job__instance__sop_instance_uid"), withdrawn_at=None
    )
    clear = Study.objects.filter(~in_conflict(), withdrawn=None)
    reports = Report.objects.filter(pk=Subquery(latest), study__in=clear, job__instance__is_held=False)
    reports = reports.filter(~Q(verdicts={}) | ~Q(reader_findings=[]), job__state=JobState.COMPLETE)
    reports = reports.exclude(Exists(rejected)).select_related("job__instance", "study").order_by("-id")
    chosen = list(reports[:last])
    findings: dict[UUID | None, list[Finding]] = {}
    for each in Finding.objects.filter(job__in=[report.job_id for report in chosen], label__in=engine.LABELS):
        findings.setdefault(each.job_id, []).append(each)
    verdicts = {report.pk: presence_of(report, findings.get(report.job_id, [])) for report in chosen}
    return [
        _film(report.study, report.job.instance, verdicts[report.pk])
        for report in chosen
        if report.job is not None
        and report.job.instance is not None
        and verdicts[report.pk]
        and report.job.instance.attributes.get("BurnedInAnnotation", "").upper() != "YES"
    ]


def _film(study: Study, instance: Instance, verdicts: Mapping[str, bool]) -> ReviewedFilm:
    return ReviewedFilm(
        instance=instance,
        patient=study.patient_id,
        age=_age(study),
        sex=study.patient_sex.upper() if study.patient_sex.upper() in ("M", "F") else "",
        view=instance.view_position.upper() if instance.view_position.upper() in ("PA", "AP") else "",
        present=frozenset(label for label, is_there in verdicts.items() if is_there),
        unknown=frozenset(engine.LABELS) - verdicts.keys(),
    )


def _age(study: Study) -> int | None:
    """Whole years on the day of the study, by the birth date or else as the image states them."""
    born, stated = study.patient_birth_date, study.patient_age.strip().upper()
    on: datetime.date | None = study.study_date
    if born is not None and on is not None and born <= on:
        return min(OLDEST, on.year - born.year - ((on.month, on.day) < (born.month, born.day)))
    if stated[:3].isdecimal() and stated[3:] in ("Y", "M", "W", "D"):
        return min(OLDEST, int(stated[:3])) if stated[3:] == "Y" else int(stated[:3]) // 12 if stated[3:] == "M" else 0
    return None


def export_files(films: Sequence[ReviewedFilm]) -> Iterator[tuple[str, bytes]]:
    """The export's files as path and content; the tables come last and name only the images that came.

    Args:
        films: from `reviewed_films`. No database is needed from here on.

    Raises:
        ConflictError: fewer than two patients, so that the lists could not be divided.
        UnavailableError: the object storage or the decoder does not answer.
    """
    require_enough(films)
    chance = random.SystemRandom()
    order = chance.sample(list(films), len(films))
    patients = list(dict.fromkeys(film.patient for film in chance.sample(order, len(order))))
    keys = {patient: str(number) for number, patient in enumerate(patients, start=1)}
    tests = set(patients[: max(1, round(TEST_SHARE * len(patients)))])
    rows: list[tuple[str, ReviewedFilm]] = []
    for film in order:
        name = f"{secrets.token_hex(8)}.png"
        try:
            picture = _picture(film.instance)
        except (InvalidInputError, ObjectLostError):
            # Damaged since it was read: the tables leave it out.
            continue
        yield f"images/{name}", picture
        rows.append((name, film))
    yield "Data_Entry_2017.csv", _table(rows, keys)
    for file, is_test in (("train_val_list.txt", False), ("test_list.txt", True)):
        names = [name for name, film in rows if (film.patient in tests) == is_test]
        yield file, "".join(f"{name}\n" for name in names).encode()
    yield "README.txt", _README.format(side=SIDE, share=TEST_SHARE, oldest=OLDEST).encode()


def require_enough(films: Sequence[ReviewedFilm]) -> None:
    """Raises ConflictError for fewer than two patients, because the lists are divided by patient."""
    if len({film.patient for film in films}) < 2:
        raise ConflictError(
            _(
                "There are too few reviewed studies: sign the reports of at least two patients, with verdicts on "
                "findings."
            ),
            "too-few-reviewed",
        )


def write_folder(films: Sequence[ReviewedFilm], folder: Path) -> int:
    """Write the export into a folder that does not exist yet; return the number of images."""
    (folder / "images").mkdir(parents=True)
    count = 0
    for name, content in export_files(films):
        (folder / name).write_bytes(content)
        count += name.startswith("images/")
    return count


def as_zip(films: Sequence[ReviewedFilm]) -> Iterator[bytes]:
    """The export as a ZIP archive, piece by piece."""
    sink = _Pieces()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, content in export_files(films):
            # A ZipInfo made by hand has a fixed date, 1980.
            archive.writestr(zipfile.ZipInfo(f"reviewed/{name}"), content)
            yield sink.taken()
    yield sink.taken()


class _Pieces(io.RawIOBase):
    """A file that is only written, and gives away what was written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found


def _picture(instance: Instance) -> bytes:
    """The displayed image, encoded anew from its grey values alone."""
    image = Image.open(io.BytesIO(image_png(instance))).convert("L")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    Image.frombytes("L", image.size, image.tobytes()).save(buffer, "PNG")
    return buffer.getvalue()


def _table(rows: Sequence[tuple[str, ReviewedFilm]], keys: dict[UUID, str]) -> bytes:
    cells = (
        (name, film.labels, keys[film.patient], film.age, film.sex, film.view, "|".join(sorted(film.unknown)))
        for name, film in rows
    )
    return as_csv(_HEADER, cells).encode()
