import pytest

from regaudit.checkpoints import text
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint


def test_parses_an_object():
    assert text.parse_object('{"ä": [1, null]}'.encode(), "x") == {"ä": [1, None]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a":}',
        b"\xff{}",
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
    ],
    ids=["empty", "list", "number", "open", "no value", "not UTF-8", "lone surrogate", "deep", "deep object", "digits"],
)
def test_refuses_what_is_no_json_object(raw):
    with pytest.raises(CorruptCheckpoint):
        text.parse_object(raw, "x")


def test_a_repeated_key_is_refused_where_it_matters():
    raw = b'{"a": 1, "b": {"c": 1, "c": 2}}'
    assert text.parse_object(raw, "x")["b"] == {"c": 2}
    with pytest.raises(CorruptCheckpoint, match="'c' occurs twice"):
        text.parse_object(raw, "x", unique=True)


def test_a_surrogate_pair_is_one_character():
    assert text.parse_object(b'{"a": "\\ud83d\\ude00"}', "x") == {"a": "\N{GRINNING FACE}"}


@pytest.mark.parametrize("raw", [b'{"a": [' + b"1," * 8 + b"1,1]}", b'{"a": [[[[[]]]]]}'])
def test_too_many_elements_are_refused_before_parsing(limit, raw):
    limit("tensors", 1)
    with pytest.raises(UnsafeCheckpoint, match="as 2 tensors need; the limit tensors is 1"):
        text.parse_object(raw, "x")


def test_names_are_quoted_escaped_and_cut():
    assert text.quoted("a\x1b[31m\n") == r"'a\x1b[31m\n'"
    assert len(text.quoted("a" * 10_000)) < 200
    assert text.listed("abcdefg") == "'a', 'b', 'c', 'd', 'e' and 2 more"
    assert text.listed("ab") == "'a', 'b'"
