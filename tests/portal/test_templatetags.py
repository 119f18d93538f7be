"""How the template filters format values."""

import pytest

from apps.portal.templatetags.portal import against, age, finding_name, percent, sex


@pytest.mark.parametrize(
    ("probability", "threshold", "length"),
    [
        (0.3, 0.3, "50.00"), (0.02, 0.02, "50.00"), (0.0, 0.3, "0.00"), (1.0, 0.3, "100.00"),
        (0.5, 0.2, "80.00"), (0.2, 0.5, "20.00"), (0.2, None, "20.00"), (0.0, 0.0, "50.00"),
    ],
)  # fmt: skip
def test_a_bar_has_its_operating_point_in_the_middle(probability: float, threshold: float | None, length: str) -> None:
    assert against(probability, threshold) == length


@pytest.mark.parametrize(("value", "text"), [(1.0, "99.9"), (0.0, "0.1"), (0.714, "71.4"), (None, "")])
def test_a_probability_is_never_certainty(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_words() -> None:
    assert finding_name("Pleural_Thickening") == "Pleural thickening"
    assert [age("045Y"), age("006M"), age("about 40")] == ["45 y", "6 months", "about 40"]
    assert [sex("F"), sex("m"), sex("X")] == ["female", "male", "X"]
