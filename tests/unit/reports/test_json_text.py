"""The text is that of the standard library, with rounded numbers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regaudit.reports.json import plain
from regaudit.reports.json_text import written

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FINITE | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES)
def test_it_is_what_the_standard_library_writes(value):
    assert written(value) == json.dumps(plain(value), indent=1, sort_keys=True, allow_nan=False)


@pytest.mark.parametrize("value", [1e-5, 123456789012.3, 2.9999999999999, 1e300, 5e-324, -0.0, 0.1 + 0.2, 1e16, 1e22])
def test_numbers_are_rounded_and_come_back_as_floats(value):
    assert written(value) == json.dumps(plain(value))
    assert isinstance(json.loads(written(value)), float)


@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), ([float("inf")], ValueError), ({1, 2}, TypeError)]
)
def test_what_has_no_place_in_json_is_refused(value, error):
    with pytest.raises(error, match="no place in JSON"):
        written(value)


def test_lone_surrogates_are_spelled_out():
    assert json.loads(written({"a\ud800": "\udfff"})) == {"a\\ud800": "\\udfff"}
