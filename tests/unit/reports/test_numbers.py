"""Numbers are short, and never say more than they know."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regaudit.reports import numbers


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"), (0.98, "0.98"), (1.214, "1.21"), (9.996, "10.0"), (12.34, "12.3"), (99.96, "100"), (1540.2, "1,540"),
        (0.0123, "0.012"), (0.00004, "4e-5"), (-0.3, "-0.30"), (123_456, "1.2e5"), (99_999.7, "1e5"), (5e-324, "4.9e-324"),
    ],
)  # fmt: skip
def test_short(value, shown):
    assert numbers.short(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-26.318317, "-26.3183"),
        (400.0, "400"),
        (1.5e-7, "1.5e-7"),
        (1e300, "1e300"),
        (1_262_883_200.0, "1,262,883,200"),
    ],
)
def test_precise(value, shown):
    assert numbers.precise(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.01, "0.01"), (2.5e-4, "2.5e-4"), (1e-5, "1e-5"), (0.0, "0"), (1.0, "1")]
)
def test_strength(value, shown):
    assert numbers.strength(value) == shown


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(0, "0%"), (1, "100%"), (1e-9, "<0.1%"), (1 - 1e-9, ">99.9%"), (0.004, "0.4%"), (0.9, "90%"), (0.995, "99.5%")],
)
def test_percent_says_none_and_all_only_where_exact(fraction, shown):
    assert numbers.percent(fraction) == shown


@given(st.floats(-1e300, 1e300))
def test_every_number_is_narrow_and_close(value):
    shown = numbers.short(value)
    assert len(shown) <= 9
    assert math.isclose(float(shown.replace(",", "")), value, rel_tol=0.06, abs_tol=1e-300)


@given(st.floats(0, 1))
def test_every_share_is_narrow(fraction):
    assert len(numbers.percent(fraction)) <= 6


@pytest.mark.parametrize(
    ("got", "shown"),
    [
        (numbers.count(1234), "1,234"),
        (numbers.count(22_713_216), "22.7 M"),
        (numbers.filesize(90_868_376), "90.9 MB"),
        (numbers.filesize(1), "1 byte"),
        (numbers.plural(0, "error"), "0 errors"),
        (numbers.plural(2, "penalty"), "2 penalties"),
        (numbers.listed(["a", "b", "c", "d"], 3), "a, b, c, d"),
        (numbers.listed(["a", "b", "c", "d", "e"], 3), "a, b, c and 2 more"),
        (numbers.shape((384, 1536)), "384×1536"),
        (numbers.shape(()), "scalar"),
        (numbers.spread([0.98, 1.21]), "0.98–1.21"),
        (numbers.spread([0.981, 0.982]), "0.98"),
        (numbers.spread([]), ""),
        (numbers.shares([0, 0.12]), "0–12%"),
        (numbers.shares([0.5]), "50%"),
    ],
)
def test_words(got, shown):
    assert got == shown
