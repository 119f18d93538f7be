"""Person names in three component groups, in every character set."""

from pathlib import Path

import pytest
from pydicom.data import get_charset_files

from apps.studies.identity import demographics_key, is_placeholder
from apps.studies.names import PersonName
from ml.dicom.attributes import read_attributes
from ml.dicom.parser import parse


@pytest.mark.parametrize(
    ("value", "short", "full"),
    [
        ("DOE^Jane", "DOE, Jane", "DOE, Jane"),
        ("Doe^John^Adam^Dr^Jr", "Doe, John Adam, Jr", "Doe, John Adam, Jr"),
        ("=山田^太郎", "山田 太郎", "山田 太郎"),
        ("==やまだ^たろう", "やまだ たろう", "やまだ たろう"),
        ("^^=山田^太郎=やまだ^たろう", "山田 太郎", "山田 太郎"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou", "Yamada, Tarou (山田 太郎)"),
        ("One name", "One name", "One name"),
        ("^^^^", "", ""),
        ("==", "", ""),
        ("", "", ""),
        ("A=B=C=D", "A", "A (B)"),
    ],
)
def test_a_name_reads_as_people_write_it(value: str, short: str, full: str) -> None:
    name = PersonName.parse(value)
    assert (name.short, name.full) == (short, full)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Doe^John", " DOE ^ JOHN ^^"), ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ^タロウ"), ("A=", "A"), ("Straße^X", "STRASSE^x")],
)
def test_what_makes_no_difference_has_one_key(one: str, other: str) -> None:
    assert demographics_key(one, None, "M") == demographics_key(other, None, "m ")


def test_an_ordinary_id_is_no_placeholder() -> None:
    for patient_id in ("1", "100", "0001", "X1", "UNKNOWN-17", "TEST1", "SYN-000001", "山田"):
        assert not is_placeholder(patient_id), patient_id


# PS3.5 annexes H, I and J, and what pydicom has beside them.
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("chrH31", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("chrH32", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("chrI2", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("chrX1", "Wang^XiaoDong=王^小東="),
        ("chrX2", "Wang^XiaoDong=王^小东="),
        ("chrGerm", "Äneas^Rüdiger"),
        ("chrRuss", "Люкceмбypг"),
        ("chrGreek", "Διονυσιος"),
        ("chrKoreanMulti", "김희중"),
    ],
)
def test_names_in_the_character_sets_of_the_standard(file: str, name: str) -> None:
    (path,) = (each for each in get_charset_files(f"{file}.dcm") if Path(each).stem == file)
    assert read_name(Path(path)) == name


def read_name(path: Path) -> str:
    attributes, notes = read_attributes(parse(path.read_bytes()))
    assert not notes
    return attributes["PatientName"]
