"""Searches by patient name: every answer of the plain comparison of the raw values, and those by an index."""

import re
import unicodedata
from collections.abc import Iterator
from importlib import import_module

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Collate

from apps.studies.identity import demographics_key
from apps.studies.models import Patient, Study
from apps.studies.query.attributes import ATTRIBUTES
from apps.studies.query.matching import condition
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital

NAMES = (
    "Meyer^Anna", "MEYER^Anna Maria^^Dr", "Meyer", "Meyer^", "Mayer^Anna", "O'Brien^Mary_100%", "Müller^Jürgen",
    "MÜLLER^JÜRGEN", "Mu\u0308ller^Ju\u0308rgen", "Muller^Jurgen", "Yamada^Tarou=山田^太郎=やまだ^たろう", "=山田^花子",
    "==やまだ^はなこ",
    "ﾔﾏﾀﾞ^ﾀﾛｳ", "Hong^Gildong=洪^吉洞=홍^길동", "Wang^XiaoDong=王^小東=", "Люкceмбypг", "Back\\slash^A", "A[b].c^(d)|e",
    "A*b^C", "", "^^^^", "==", "^Only Given", "Strauß^Käthe", "İnönü^Ali",
)  # fmt: skip
QUERIES = (
    "Meyer^Anna", "meyer^anna*", "MEYER*", "meyer", "meyer^*", "M?yer^Anna", "M?yer*", "*anna", "*anna*", "m*r^*a*",
    "*", "**", "?*", "Mey?r^*", "Meyer^^", "O'Brien*", "O'Brien^Mary_100%", "o'brien^mary?100?", "%", "_*", ".*",
    "A[b].c*",
    "a*^(d)|e", "Back\\*", "back\\slash^a", "müller*", "Müller^Jürgen", "MÜLLER^J*", "mu*", "山田*", "山田^太郎",
    "?田^*",
    "=山田*", "=山田^太郎", "==やまだ*", "==*はなこ", "Yamada*=山田*",
    "yamada^tarou=山田^太郎=やまだ^たろう", "Yamada*==やまだ*", "mayer=山田*",
    "홍*", "洪^吉洞", "王^小東", "люк*", "ЛЮКCEМБYPГ", "^only*", "Strauß*", "Strau?^K?the", "*rau?^*",
    "?nönü*", "nothing*", "no^body", "=", "^", " ",
)  # fmt: skip
# Beside those answers: without regard to spaces, to character width and to how a letter with an accent is encoded, and
# an empty component at the end of a name may be left out.
ADDED = {
    "meyer^*": {"Meyer"}, "Mey?r^*": {"Meyer", "Meyer^"}, "ﾔﾏﾀﾞ*": set(), "ヤマダ^タロウ": {"ﾔﾏﾀﾞ^ﾀﾛｳ"},
    "meyer ^ anna": {"Meyer^Anna"}, "STRAUSS*": {"Strauß^Käthe"}, "müller*": {"Mu\u0308ller^Ju\u0308rgen"},
    "Müller^Jürgen": {"Mu\u0308ller^Ju\u0308rgen"}, "MÜLLER^J*": {"Mu\u0308ller^Ju\u0308rgen"},
}  # fmt: skip

# A name without letters is empty, and an accent belongs to its letter.
LEFT_OUT = {"?*": {"^^^^"}, "mu*": {"Mu\u0308ller^Ju\u0308rgen"}}


@pytest.fixture
def named(north: Hospital) -> Iterator[None]:
    """A study with each name, and one whose demographics are not filled yet."""
    with tenant_tx(north.tenant.id):
        patient = Patient.objects.create(patient_id="P")
        for number, name in enumerate(NAMES):
            Study.objects.create(
                patient=patient, study_instance_uid=f"1.2.{number}", patient_name=name,
                demographics_key=demographics_key(name, None, ""),
            )  # fmt: skip
        Study.objects.create(patient=patient, study_instance_uid="1.2.99")
        yield


def found(query: str) -> set[str]:
    matches = condition(ATTRIBUTES["PatientName"], query, "patient_name")
    return set(Study.objects.filter(matches, demographics_key__isnull=False).values_list("patient_name", flat=True))


def compared(query: str) -> set[str]:
    """The names of which a group, or each group in its place, matches the pattern as PS3.4 C.2.2.2 has it."""
    groups = [group.rstrip("^ ") for group in query.strip().rstrip("= ").split("=")]
    patterns = [
        "".join({"*": "[^=]*", "?": "[^=]"}.get(each) or re.escape(each) for each in group) if group else "[^=]*"
        for group in groups
    ]
    end = r"[\^ ]*"
    if len(groups) == 1:
        pattern = f"(^|=){patterns[0]}{end}(=|$)"
    else:
        pattern = "^" + "=".join(f"{each}{end}" for each in patterns) + "(=|$)"
    return {name for name in NAMES if re.search(pattern, name, re.IGNORECASE)}


def test_names_are_found_as_their_raw_values_would_be(named: None) -> None:
    for query in dict.fromkeys([*QUERIES, *ADDED]):
        assert found(query) == (compared(query) | ADDED.get(query, set())) - LEFT_OUT.get(query, set()), query


def test_the_beginning_of_a_name_is_found_by_an_index_under_row_security(named: None) -> None:
    with connection.cursor() as cursor:
        # A small table, whose figures depend on other tests: without a sort, only this index has the order.
        for way in ("seqscan", "bitmapscan", "sort"):
            cursor.execute(f"set local enable_{way} = off")
    for place, query, index in (
        (0, "yamada*=山田*", "studies_study_by_name"),
        (1, "=山田*", "studies_study_by_ideographic"),
        (2, "==やまだ*", "studies_study_by_phonetic"),
    ):
        found = Study.objects.filter(condition(ATTRIBUTES["PatientName"], query, "patient_name"))
        plan = found.order_by(Collate(F(f"demographics_key__{place}"), "C")).explain()
        assert re.search(rf"Index Scan using {index}.*\n +Index Cond: .*tenant_id.*demographics_key", plan), plan


def test_a_name_that_folding_makes_long_is_stored_and_found(north: Hospital) -> None:
    name = "\ufdfa" * 300
    assert len(unicodedata.normalize("NFKC", name)) > 5000
    with tenant_tx(north.tenant.id):
        patient = Patient.objects.create(patient_id="P")
        Study.objects.create(
            patient=patient,
            study_instance_uid="1.2",
            patient_name=name,
            demographics_key=demographics_key(name, None, ""),
        )
        assert found("\ufdfa*") == found(name) == {name}


def test_a_longer_name_of_before_is_cut_before_the_index_is_built(north: Hospital) -> None:
    name = "\ufdfa" * 60
    cut = import_module("apps.studies.migrations.0012_patient_indexes").cut_keys("studies_study")
    with tenant_tx(north.tenant.id):
        patient = Patient.objects.create(patient_id="P")
        keys = {"1": [unicodedata.normalize("NFKC", name), "", "", "1950-01-01", "m"], "2": ["a^b", "", "", "", ""]}
        for number, key in keys.items():
            Study.objects.create(patient=patient, study_instance_uid=number, demographics_key=key)
        ids = list(Study.objects.values_list("pk", flat=True))
        with connection.cursor() as cursor:
            cursor.execute(cut.statement, {"ids": ids})
            assert cursor.rowcount == 1
        stored = dict(Study.objects.values_list("study_instance_uid", "demographics_key"))
    assert stored["1"] == [*demographics_key(name, None, "")[:3], "1950-01-01", "m"]
    assert stored["2"] == keys["2"]
