"""Names from a stranger's file never reach the terminal raw."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regaudit.reports.escape import printable, shortened, visible


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("encoder.0.weight", "encoder.0.weight"),
        ("[/foo]", "[/foo]"),
        ("<script>", "<script>"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edef", "abc\\u202edef"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("a\xa0b", "a\\xa0b"),
        ("größe/核", "größe/核"),
    ],
    ids=ascii,
)
def test_what_is_invisible_or_active_is_written_out(raw, shown):
    assert printable(raw) == shown


@given(st.text(st.characters(codec=None)), st.integers(3, 60))
def test_result_is_printable_and_short(text, limit):
    assert printable(text, limit).isprintable()
    assert len(printable(text, limit)) <= limit
    assert visible(text).isprintable()
    visible(text).encode("utf-8")


def test_long_name_keeps_both_ends():
    assert shortened("a" * 50 + "b" * 50, 9) == "aaaa…bbbb"
