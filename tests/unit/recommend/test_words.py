import pytest

from regaudit.recommend.words import counted, number, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01, "0.01"),
        (1e-5, "1e-5"),
        (6e-7, "6e-7"),
        (40000.0, "40,000"),
        (2.5e9, "2.5e9"),
        (1.5e-12, "1.5e-12"),
        (0.0, "0"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_counts_and_shares_are_words():
    assert counted(1, "kernel") == "1 kernel"
    assert counted(1200, "kernel") == "1,200 kernels"
    assert share(0.0, "unit", "dead") == "no unit is dead"
    assert share(0.125, "unit", "dead") == "12.5% of the units are dead"
